"""The stages that `dvc repro` runs, in their order."""

from pathlib import Path
from typing import Annotated

import typer

from qure.cli.application import app
from qure.cli.options import (
    ARTIFACTS,
    DATA,
    PARAMETERS,
    WORK,
    Artifacts,
    Data,
    Device,
    Parameters,
    TrainingSet,
    Work,
    require_installed,
    require_room,
    require_writable,
    settings_for,
)
from qure.environment import without_collecting
from qure.layout import Layout


@app.command()
def validate(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    work: Work = WORK,
    champion_statistics: Annotated[
        Path | None,
        typer.Option(help="statistics.json of other data: what differs goes into the result and onto its page."),
    ] = None,
) -> None:
    """Check annotations and images of a training set's benchmarks; list every bad row.

    Data that passed is compared with what the champion was trained on, where there is one. That is said and changes
    no output: the registry's state must not decide what DVC keeps.
    """
    require_installed("great_expectations")
    settings, layout = settings_for(params, training_set), Layout(data, artifacts, work).of(training_set)
    require_writable(layout.validation, layout.scratch("validation"))
    from qure.validation.stage import validate as run

    run(
        settings,
        training_set,
        data=data,
        output=layout.validation,
        work=layout.scratch("validation"),
        champion_statistics=champion_statistics,
    )
    from qure.registry.drift import say_drift

    say_drift(settings, training_set, data=data, validation=layout.validation)


@app.command()
def backbone(
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Make (catalogue) or import (BLIP-2) the model that training starts from."""
    settings, layout = settings_for(params), Layout(data, artifacts)
    require_writable(layout.backbone)
    from qure.backbone.stage import prepare_backbone

    prepare_backbone(
        settings,
        data,
        layout.backbone,
        validation=[layout.of(training_set).validation for training_set in settings.training],
    )


@app.command()
def precompute(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    device: Device = None,
) -> None:
    """Run the frozen image tower once over every image that a training set and its benchmarks use."""
    settings, layout = settings_for(params, training_set), Layout(data, artifacts).of(training_set)
    require_writable(*layout.feature_stores.values())
    from qure.features.stage import precompute as run

    for image_set, store in layout.feature_stores.items():
        run(
            settings,
            image_set,
            data=data,
            backbone=layout.backbone,
            output=store,
            validation=layout.validation,
            device=device,
        )


@app.command()
def train(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    work: Work = WORK,
    device: Device = None,
) -> None:
    """Train QuRe; a killed run goes on where it was. Several GPUs: torchrun --nproc-per-node=N -m qure.cli train ..."""
    settings, layout = settings_for(params, training_set), Layout(data, artifacts, work).of(training_set)
    require_writable(layout.model, layout.training, layout.scratch("train"))
    require_room(layout.backbone / "model.safetensors", layout.model, layout.scratch("train"))
    from qure.training.stage import train as run

    run(
        settings,
        training_set,
        data=data,
        features=layout.training_features,
        backbone=layout.backbone,
        validation=layout.validation,
        output=layout.folder,
        work=layout.scratch("train"),
        device=device,
    )


@app.command()
def evaluate(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    device: Device = None,
) -> None:
    """Judge the trained model on the benchmarks of its training set, with controls and a report."""
    settings, layout = settings_for(params, training_set), Layout(data, artifacts).of(training_set)
    require_writable(layout.evaluation)
    with without_collecting():
        from qure.evaluation.stage import evaluate as run

    run(
        settings,
        training_set,
        data=data,
        features=layout.feature_stores,
        model=layout.model,
        backbone=layout.backbone,
        training=layout.training,
        validation=layout.validation,
        output=layout.evaluation,
        device=device,
    )


@app.command()
def register(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Put the trained model into the MLflow registry as challenger."""
    settings, layout = settings_for(params, training_set), Layout(data, artifacts).of(training_set)
    require_writable(layout.registration)
    with without_collecting():
        from qure.registry.stage import register as run

    run(
        settings,
        training_set,
        data=data,
        model=layout.model,
        evaluation=layout.evaluation,
        training=layout.training,
        features=layout.feature_stores,
        validation=layout.validation,
        output=layout.registration,
    )


@app.command()
def promote(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Make the challenger champion if it loads, passes the thresholds and is not worse."""
    settings, layout = settings_for(params, training_set), Layout(data, artifacts).of(training_set)
    require_writable(layout.promotion)
    with without_collecting():
        from qure.registry.monitoring import reevaluation
        from qure.registry.stage import promote as run

    run(
        settings,
        training_set,
        registration=layout.registration,
        evaluation=layout.evaluation,
        output=layout.promotion,
        data=data,
        reevaluate=reevaluation(
            settings,
            training_set,
            data=data,
            features=layout.feature_stores,
            validation=layout.validation,
        ),
    )
