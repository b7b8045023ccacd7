"""The register and promote stages, and rollback.

register: the trained model becomes a version of `qure-<training set>`, alias `challenger`. Same model, same version.
promote: the challenger becomes `champion` if it loads from the registry and answers, reaches the thresholds, and is not
worse than the champion on the same queries (`qure.registry.comparison` has the rule).
rollback: the champion before becomes champion again.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.files import read_json, write_json
from qure.models.manifest import read_manifest
from qure.registry.champions import CHALLENGER, Champions
from qure.registry.described import tell_decision
from qure.registry.drift import keep_statistics
from qure.registry.evaluations import attach, headline, key_of, read_evaluations
from qure.registry.monitoring import STATISTICS
from qure.registry.promotion import Decision, Promotion
from qure.registry.registration import (
    Trained,
    bring_back,
    describe,
    ensure_registered,
    find_version,
    keep_made_with,
    new_version,
    registered_name,
)
from qure.registry.reporting import report_beside
from qure.tracking import commit, connect, data_fingerprint, pipeline_run_id, stage_run, tracking_uri
from qure.tracking.connection import translated

logger = logging.getLogger(__name__)

#: (champion's model folder, folder to write) -> None: writes what an evaluate stage writes, on the present data.
Reevaluate = Callable[[Path, Path], None]


def register(
    settings: Settings,
    training_set: str,
    *,
    data: Path,
    model: Path,
    evaluation: Path,
    output: Path,
    training: Path | None = None,
    features: Mapping[str, Path] | None = None,
    validation: Path | None = None,
    data_fingerprint: str | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Registers a trained model as challenger, with its evaluation; a model that is registered keeps its version.

    Files that the artifact store has lost since then are uploaded again.

    Args:
        settings: `tracking`, `evaluation` and `serving` are read; a model with another index is another version.
        training_set: "fashioniq" or "cirr".
        data: data root; the gallery that the registered model ranks comes from it.
        model: trained model's folder.
        evaluation: evaluate stage's folder of this model.
        output: JSON file to write: name, version, run, fingerprints, metrics, and what of the data has shifted against
            the champion's.
        training: training folder; its summary is kept with the run.
        features: image set -> feature store of the model's vision tower; without it images are encoded again.
        validation: validation folder; what it excludes is left out of the gallery, and its statistics are kept with
            the version and compared with the champion's: shifted data is said.
        data_fingerprint: of `data`, where the caller knows it.
        device: where to compute; the GPU when there is one.

    Returns:
        what the output file holds, the verdict first.

    Raises:
        BadInput: a folder is missing or damaged, the evaluation is of another model, tracking is switched off.
        StageFailed: MLflow cannot be reached or refuses, or the packaged model gives no answer.
    """
    output = Path(output)
    manifest = read_manifest(model)
    evaluations = read_evaluations(evaluation, training_set, manifest["fingerprint"])
    fingerprint = data_fingerprint or _fingerprint_of(data)
    trained = Trained(training_set, Path(model), manifest, evaluations, Path(data), fingerprint, features, validation)
    name = registered_name(training_set)
    output.parent.mkdir(parents=True, exist_ok=True)
    client = connect(settings.tracking)
    inputs = {"data": fingerprint, "model": trained.fingerprint}
    with _run(settings, "register", training_set, inputs) as run, translated(tracking_uri(settings.tracking)):
        assert run.run_id is not None  # connect refuses to go on without tracking
        ensure_registered(client, name)
        version = find_version(client, name, trained.fingerprint, settings.serving.index)
        created = version is None
        if version is None:
            keep_made_with(client, settings, run.run_id)
            version = new_version(client, settings, trained, run.run_id, output.parent, device)
        else:
            bring_back(client, settings, trained, version, output.parent, device)
        describe(client, settings, trained, version, _controls(Path(evaluation)))
        attach(client, version, Path(evaluation), evaluations, key_of(evaluations, training_set))
        with Champions(client, name).lock() as lock:
            lock.check()
            Champions(client, name).make_challenger(int(version.version))
        run.set_tags({"qure.registered": f"{name} version {version.version}"})
        run.log_metrics(headline(evaluations))
        if training is not None and (Path(training) / "summary.json").is_file():
            run.log_artifact(Path(training) / "summary.json", "training")
        shifted: list[str] = []
        if validation is not None and (Path(validation) / STATISTICS).is_file():
            present = {name: store for name, store in (features or {}).items() if Path(store).is_dir()}
            shifted = keep_statistics(
                client, settings, run, version, data=Path(data), validation=Path(validation), features=present
            )
    result = {
        "verdict": f"{name} version {version.version} is registered as {CHALLENGER}"
        + (". It was registered before." if not created else "."),
        "name": name,
        "version": int(version.version),
        "created": created,
        "model_uri": f"models:/{name}/{version.version}",
        "model_fingerprint": trained.fingerprint,
        "data_fingerprint": fingerprint,
        "commit": commit(),
        "run_id": version.run_id,
        "metrics": headline(evaluations),
        "drift": shifted,
    }
    write_json(output, result)
    logger.info("%s version %s is %s", name, version.version, "new" if created else "registered already")
    return result


def promote(
    settings: Settings,
    training_set: str,
    *,
    registration: Path,
    evaluation: Path,
    output: Path,
    reevaluate: Reevaluate | None = None,
    data: Path | None = None,
) -> dict[str, Any]:
    """Makes the registered challenger champion if design decision 4 lets it.

    The registered version must load from the registry and give its example query the answer it gave when it was
    packaged; reach `promotion.thresholds`; and not be worse than the champion on the same queries. A champion that
    was not asked the same (other data, another gallery protocol) is evaluated again. Of several promotions at the
    same time each is decided against the champion that the one before has left.

    Args:
        settings: `promotion`, `evaluation` and `tracking` are read.
        training_set: "fashioniq" or "cirr".
        registration: what `register` has written.
        evaluation: evaluate stage's folder of the registered model, on the present data.
        output: JSON file to write: whether it was promoted, why, every check.
        reevaluate: evaluates the champion's model folder on the present data; without it a challenger that was not
            asked the same as the champion is refused.
        data: data root; with it a report that shows the challenger beside the champion is kept with the run.

    Returns:
        what the output file holds, the verdict first.

    Raises:
        BadInput: a file is missing or damaged, a threshold names no metric.
        StageFailed: MLflow cannot be reached or refuses; or the challenger was not promoted and
            `promotion.required` is set (the output file is there then).
    """
    output, registered = Path(output), read_registration(registration, training_set)
    evaluations = read_evaluations(evaluation, training_set, registered["model_fingerprint"])
    output.parent.mkdir(parents=True, exist_ok=True)
    client = connect(settings.tracking)
    inputs = {"data": registered["data_fingerprint"], "model": registered["model_fingerprint"]}
    with _run(settings, "promote", training_set, inputs) as run, translated(tracking_uri(settings.tracking)):
        promotion = Promotion(client, settings, training_set, evaluations, reevaluate, output.parent, run.run_id or "")
        decision = promotion.decide(registered["version"], Path(evaluation))
        run.set_tags({"qure.promotion": decision.outcome, "qure.promotion.reason": decision.reason})
        if decision.comparison is not None:
            run.log_metrics(
                {
                    f"promotion/{key}": decision.comparison[key]
                    for key in ("difference", "low", "high", "risk", "loss", "selection_bias")
                }
            )
        reason = f"{decision.reason}. {decision.note}" if decision.note else decision.reason
        at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        tell_decision(client, registered["name"], registered["version"], decision.outcome, reason, at)
        result = {"verdict": f"{decision.outcome.capitalize()}: {decision.reason}."} | decision.record()
        result |= {"name": registered["name"], "required": settings.promotion.required}
        write_json(output, result)
        run.log_artifact(output)
        if data is not None and decision.compared_with is not None:
            report_beside(
                client,
                settings,
                training_set,
                version=registered["version"],
                champion=decision.compared_with,
                key=key_of(evaluations, training_set),
                evaluation=Path(evaluation),
                data=Path(data),
                run=run,
            )
        say = logger.info if decision.passed else logger.warning
        became = "is champion" if decision.passed else "was not promoted"
        say("%s version %s %s: %s", registered["name"], registered["version"], became, decision.reason)
        if decision.note:
            logger.info("%s version %s: %s", registered["name"], registered["version"], decision.note)
        _require(decision, settings, registered)
    return result


def rollback(settings: Settings, training_set: str, to_version: int | None = None) -> dict[str, Any]:
    """Makes the champion before the present one champion again, or a version by number.

    The version that is rolled back is not promoted again by a pipeline; naming it in another rollback lifts that.

    Returns:
        name, and the versions that was and that is champion.

    Raises:
        BadInput: there was no champion before, no such version, or it is champion already.
        StageFailed: MLflow cannot be reached or refuses.
    """
    name = registered_name(training_set)
    client = connect(settings.tracking)
    with translated(tracking_uri(settings.tracking)):
        ensure_registered(client, name)
        to = f" --to-version {to_version}" if to_version is not None else ""
        champions = Champions(client, name, command=f"qure rollback --training-set {training_set}{to}")
        with champions.lock() as lock:
            before, now = champions.roll_back(lock, to_version)
    logger.info("%s: champion was version %s and is version %s", name, before, now)
    return {"name": name, "before": before, "champion": now}


def read_registration(file: Path, training_set: str) -> dict[str, Any]:
    """What `register` has written.

    Raises:
        BadInput: the file is missing, damaged, or of another training set.
    """
    content = read_json(file, remedy="Register the model first: qure register")
    wanted = {"name": str, "version": int, "model_fingerprint": str, "data_fingerprint": str}
    for field, kind in wanted.items():
        if not isinstance(content, dict) or not isinstance(content.get(field), kind):
            raise BadInput("not what the register stage writes", file=file, field=field, remedy="Register again")
    if content["name"] != registered_name(training_set):
        raise BadInput(f"this is {content['name']!r}, not {registered_name(training_set)!r}", file=file, field="name")
    return dict(content)


def _require(decision: Decision, settings: Settings, registered: Mapping[str, Any]) -> None:
    if settings.promotion.required and not decision.passed:
        raise StageFailed(
            f"{registered['name']} version {registered['version']} was not promoted: {decision.reason}. It stays "
            f"registered as {CHALLENGER}; set promotion.required: false to let such a run end well"
        )


def _run(settings: Settings, stage: str, training_set: str, inputs: Mapping[str, str]) -> Any:
    return stage_run(
        settings.tracking,
        stage=stage,
        training_set=training_set,
        parameters={"promotion": settings.promotion.model_dump(mode="json")} if stage == "promote" else {},
        inputs=inputs,
        pipeline=pipeline_run_id(settings.resolved(), inputs["data"]),
    )


def _controls(evaluation: Path) -> dict[str, Any]:
    file = evaluation / "metrics.json"
    return dict(read_json(file).get("controls", {})) if file.is_file() else {}


def _fingerprint_of(data: Path) -> str:
    return data_fingerprint(data)
