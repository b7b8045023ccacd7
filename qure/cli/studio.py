"""The page for people, and what becomes of what they say: surveys and labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qure.cli.application import app
from qure.cli.options import (
    ARTIFACTS,
    DATA,
    PARAMETERS,
    Artifacts,
    Data,
    Device,
    Json,
    Parameters,
    TrainingSet,
    print_json,
    print_table,
    require_writable,
    settings_for,
)
from qure.errors import BadInput
from qure.layout import Layout

if TYPE_CHECKING:
    from qure.studio.project import Project

survey_app = typer.Typer(help="Which of two versions people prefer: HP-FashionIQ's kind of data.", no_args_is_help=True)
app.add_typer(survey_app, name="survey")
labels_app = typer.Typer(help="What people marked as right, for evaluation and training.", no_args_is_help=True)
app.add_typer(labels_app, name="labels")

Folder = Annotated[Path, typer.Option("--folder", help="Where answers, visitors' pictures and the survey lie.")]
FOLDER = Path("studio")


@app.command()
def studio(
    training_set: TrainingSet = "fashioniq",
    folder: Folder = FOLDER,
    host: Annotated[str, typer.Option(help="Where to listen; others than this machine reach only other addresses.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8765,
    allow_host: Annotated[list[str] | None, typer.Option(help="A name under which the page may be asked for.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Show, and take nothing.")] = False,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    device: Device = None,
) -> None:
    """A page to search, compare two versions, give preferences, correct labels and look inside a mining."""
    from qure.studio.server import serve

    if not read_only:
        require_writable(folder)
    serve(
        _project(params, training_set, data, artifacts, device),
        folder,
        host=host,
        port=port,
        allowed=allow_host or (),
        read_only=read_only,
    )


@survey_app.command("new")
def survey_new(
    training_set: TrainingSet = "fashioniq",
    a: Annotated[str, typer.Option(help="A version: its number or alias.")] = "champion",
    b: Annotated[str, typer.Option(help="The version to compare it with.")] = "challenger",
    sets: Annotated[int, typer.Option(min=1, help="Question sets; a person answers one.")] = 4,
    questions: Annotated[int, typer.Option(min=1, help="In each set.")] = 20,
    checks: Annotated[int, typer.Option(min=0, help="Attention checks in each set.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of queries.")] = 0,
    consent: Annotated[Path | None, typer.Option(help="Text file: what people agree to, instead of qure's.")] = None,
    folder: Folder = FOLDER,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    device: Device = None,
) -> None:
    """Make a survey of two versions; `qure studio` asks it."""
    from qure.files import read_text
    from qure.studio.survey.questions import CONSENT, SURVEY, new_survey

    if (folder / SURVEY).exists():
        raise BadInput(
            "a survey is there already", file=folder / SURVEY, remedy="Name another folder: --folder, or move it away"
        )
    require_writable(folder)
    text = CONSENT if consent is None else read_text(consent).strip()
    project = _project(params, training_set, data, artifacts, device)
    versions = project.versions()
    made = new_survey(
        project,
        project.version(a, versions),
        project.version(b, versions),
        sets=sets,
        questions=questions,
        checks=checks,
        seed=seed,
        consent=text,
    )
    made.save(folder / SURVEY)
    typer.echo(f"{folder / SURVEY}: {sets} sets of {questions} questions and {checks} checks; ask it: qure studio")


@survey_app.command("export")
def survey_export(
    output: Annotated[
        Path, typer.Option(help="Folder to write hpfiq.json and rows.json into, for example data/hp_fashioniq.")
    ],
    failed_checks: Annotated[int, typer.Option(min=0, help="People who failed more are left out.")] = 0,
    keep_nothing: Annotated[
        bool, typer.Option("--keep-nothing", help="Keep rows in which nothing was relevant.")
    ] = False,
    folder: Folder = FOLDER,
    as_json: Json = False,
) -> None:
    """Write the answers in HP-FashionIQ's form, without invalid rows; `evaluate` and `evaluate-embeddings` read it."""
    from qure.studio.answers import Answers
    from qure.studio.application import ANSWERS
    from qure.studio.survey.export import write_export
    from qure.studio.survey.questions import SURVEY, Survey

    require_writable(output)
    if output.exists() and any(output.iterdir()):
        raise BadInput("the folder is not empty", file=output, remedy="Name a new one: --output")
    survey = Survey.load(folder / SURVEY)
    answers = Answers(folder / ANSWERS, read_only=True)
    found = write_export(survey, answers, output, failed=failed_checks, nothing=keep_nothing)
    if as_json:
        print_json({"rows": found.kept, "left_out": dict(found.left_out)})
        return
    left_out = "".join(f"; {count} left out: {reason}" for reason, count in found.left_out.items())
    typer.echo(f"{output}: {found.kept} rows of {len(found.people)} people{left_out}")


@survey_app.command("report")
def survey_report(
    failed_checks: Annotated[int, typer.Option(min=0, help="People who failed more count for checks alone.")] = 0,
    folder: Folder = FOLDER,
    as_json: Json = False,
) -> None:
    """How far the people can be relied on: agreement, position bias, failed checks; and what they prefer."""
    from qure.studio.answers import Answers
    from qure.studio.application import ANSWERS
    from qure.studio.survey.progress import participations
    from qure.studio.survey.questions import SURVEY, Survey
    from qure.studio.survey.raters import rater_report, sentences

    survey = Survey.load(folder / SURVEY)
    found = rater_report(
        survey, participations(Answers(folder / ANSWERS, read_only=True), survey), failed=failed_checks
    )
    if as_json:
        print_json(found)
    else:
        print_table(*sentences(found))


@survey_app.command("simulate")
def survey_simulate(
    address: Annotated[str, typer.Option(help="Where the page is.")] = "http://127.0.0.1:8765",
    people: Annotated[int, typer.Option(min=1, help="How many.")] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is random.")] = 0,
    training_set: TrainingSet = "fashioniq",
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Let simulated people answer a running survey, by the rendered catalogue's truth with noise."""
    from qure.studio.survey.crowd import relevance_of, simulate

    project = _project(params, training_set, data, artifacts, None)
    answered = simulate(address, relevance_of(project), people=people, seed=seed)
    typer.echo(f"{people} simulated people gave {answered} answers")


@labels_app.command("export")
def labels_export(
    training_set: TrainingSet = "fashioniq",
    split: Annotated[str, typer.Option(help="val: evaluation reports them; train: never drawn as negatives.")] = "val",
    folder: Folder = FOLDER,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    as_json: Json = False,
) -> None:
    """Write what people marked into the data, in CIRCO's form: evaluation and training read labels.SPLIT.json."""
    from qure.studio.answers import Answers
    from qure.studio.application import ANSWERS
    from qure.studio.labels import write_labels

    if split not in ("val", "train"):
        raise BadInput(f"no split {split!r}", field="--split", remedy="One of val, train")
    project = _project(params, training_set, data, artifacts, None)
    answers = Answers(folder / ANSWERS, read_only=True)
    root = project.benchmark.root(data)
    file, rows = write_labels(answers, training_set, split, project.queries_of(split), root)
    further = sum(len(row["gt_img_ids"]) - 1 for row in rows)
    if as_json:
        print_json({"file": str(file), "queries": len(rows), "further_right": further})
    else:
        typer.echo(f"{file}: {len(rows)} queries looked at, {further} further right images; version it: dvc add {data}")


def _project(params: Path, training_set: str, data: Path, artifacts: Path, device: str | None) -> "Project":
    from qure.studio.project import Project

    layout = Layout(data, artifacts).of(training_set)
    return Project(settings_for(params, training_set), layout, params=params, device=device)
