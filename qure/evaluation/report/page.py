"""The report: one self-contained HTML file and a Markdown summary per evaluated model.

People look before they read: queries stand in it as pictures. Captions and ids are other people's text and are escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from qure.benchmarks import benchmarks, get_benchmark
from qure.config import EvaluationSettings
from qure.datasets.image_store import open_images
from qure.datasets.truth import read_truth
from qure.evaluation.report import hard_negatives
from qure.evaluation.report.cards import SYMBOLS, Card, cards, hard_negative_cards
from qure.evaluation.report.meanings import meaning
from qure.evaluation.report.pictures import Thumbnails, plot_uri
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation
from qure.files import atomic_file, read_json


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report is made of.

    Attributes:
        title: for example "qure-fashioniq".
        evaluations: of the model, one per benchmark.
        data: data root, for the pictures and the true attributes.
        settings: how intervals were made.
        controls: control name -> metrics on the training benchmark (untrained, shuffled references, ...).
        champion: the champion's evaluations on the same benchmarks; empty where there is none.
        champion_name: what the report calls it, for example "The champion, version 3".
        training: the training stage's folder, for its plots and findings.
        excluded: benchmark -> number of images and queries that validation tolerated and dropped.
        plots: the evaluation's plots folder, for its hard negatives.
    """

    title: str
    evaluations: Sequence[Evaluation]
    data: Path
    settings: EvaluationSettings
    controls: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    champion: Sequence[Evaluation] = ()
    champion_name: str = "The champion"
    training: Path | None = None
    excluded: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    plots: Path | None = None


def write_report(inputs: ReportInputs, folder: Path) -> None:
    """Writes report.html and summary.md into `folder`."""
    blocks = [_block(evaluation, inputs) for evaluation in inputs.evaluations]
    findings = _findings(inputs)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qure.evaluation.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    html = environment.get_template("report.html.j2").render(
        title=f"Evaluation of {inputs.title}",
        subtitle=_subtitle(inputs),
        confidence=f"{inputs.settings.confidence:.0%}",
        findings=findings,
        blocks=blocks,
        symbols={**SYMBOLS, "shown": ""},
        training=_plots(inputs.training),
    )
    with atomic_file(folder / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    with atomic_file(folder / "summary.md") as temporary:
        temporary.write_text(_markdown(inputs, blocks, findings), encoding="utf-8")


def _subtitle(inputs: ReportInputs) -> str:
    settings = inputs.settings
    model = inputs.evaluations[0].details.get("model")
    others = "".join(f"; for {one.title} of the {one.resampled}" for one in benchmarks() if one.resampled != "queries")
    return (
        (f"Model {str(model)[:12]}. " if model else "")
        + f"Numbers are percent. {settings.confidence:.0%} intervals from {settings.bootstrap_samples:,} bootstrap "
        f"resamples (seed {settings.seed}) of the queries{others}."
    )


def _block(evaluation: Evaluation, inputs: ReportInputs) -> dict[str, Any]:
    benchmark, one = evaluation.benchmark, get_benchmark(evaluation.benchmark)
    champion = next((other for other in inputs.champion if other.benchmark == benchmark), None)
    comparable = champion is not None and champion.data_fingerprint == evaluation.data_fingerprint
    rival = champion if comparable else None
    truth = read_truth(one.root(inputs.data))
    thumbnails = Thumbnails(open_images(get_benchmark(one.images).root(inputs.data)))
    shown = cards(evaluation, thumbnails.__getitem__, truth)
    sets = inputs.plots / hard_negatives.FILE if inputs.plots and evaluation is inputs.evaluations[0] else None
    measured = [measure for measure in evaluation.measures if measure.name in evaluation.metrics]
    trained_here = evaluation is inputs.evaluations[0]
    return {
        "name": benchmark,
        "heading": one.title + (f" {evaluation.split}" if evaluation.split != "all" else ""),
        "note": _note(evaluation, inputs, rendered=truth is not None),
        "rendered": truth is not None,
        "has_champion": comparable,
        "champion_note": _champion_note(champion, comparable, inputs.champion_name),
        "rows": [_row(evaluation, each, rival, inputs.settings) for each in measured if each.where is None],
        "by_category": [_row(evaluation, each, rival, inputs.settings) for each in measured if each.where is not None],
        "meanings": {each.name: meaning(each.name, benchmark) for each in measured if each.where is None},
        "controls": _controls(evaluation, inputs.controls) if trained_here and inputs.controls else None,
        "published": one.published,
        "cards": shown,
        "drops": plot_uri(sets.with_name(hard_negatives.PICTURE)) if sets and sets.is_file() else None,
        "hard_negatives": (
            hard_negative_cards(hard_negatives.load(sets), thumbnails.__getitem__, truth)
            if sets and sets.is_file()
            else []
        ),
        "preferences": "set_1" in evaluation.per_query.columns,
        "filters": _filters(shown),
    }


def _note(evaluation: Evaluation, inputs: ReportInputs, *, rendered: bool) -> str:
    """What was asked, in sentences: counts, gallery, what was left out, and what the numbers must not be taken for."""
    counts = {name: value for name, value in evaluation.metrics.items() if name not in evaluation.intervals}
    parts = [f"{counts['queries']:,.0f} queries"]
    if "people" in counts:
        parts = [f"{counts['queries']:,.0f} answers of {counts['people']:,.0f} people"]
        parts.append(f"{counts['queries_consistent']:,.0f} consistent with the scores that they gave")
        parts.append(f"{counts['ties']:,.0f} ties of the model")
    parts.append(f"{counts['gallery_size']:,.0f} images")
    sentences = [", ".join(parts) + "."]
    sentences += get_benchmark(evaluation.benchmark).notes(evaluation)
    if rendered:
        sentences.append("Rendered catalogue: these numbers are not the paper's and cannot be compared with it.")
    dropped = inputs.excluded.get(evaluation.benchmark, {})
    if any(dropped.values()):
        sentences.append(
            f"Left out because validation tolerated their defects: {dropped.get('images', 0)} images, "
            f"{dropped.get('queries', 0)} queries."
        )
    return " ".join(sentences)


def _champion_note(champion: Evaluation | None, comparable: bool, name: str) -> str:
    if champion is None:
        return "No champion's evaluation was given to compare with; promotion compares with the registry's champion."
    if not comparable:
        return f"{name} was evaluated on other data; promotion evaluates it again before it compares."
    return f"{name}, on the same queries: the interval of the difference comes from a paired bootstrap."


def _row(
    evaluation: Evaluation, measure: Measure, champion: Evaluation | None, settings: EvaluationSettings
) -> dict[str, str]:
    name = measure.name
    low, high = evaluation.intervals[name]
    row = {
        "name": name,
        "value": f"{evaluation.metrics[name]:.2f}",
        "interval": f"{low:.2f} to {high:.2f}",
        "champion": "",
        "difference": "",
    }
    if champion is not None and name in champion.metrics:
        paired = paired_difference(
            evaluation,
            champion,
            name,
            samples=settings.bootstrap_samples,
            confidence=settings.confidence,
            seed=settings.seed,
        )
        row["champion"] = f"{paired.b:.2f}"
        row["difference"] = f"{paired.difference:+.2f} ({paired.low:+.2f} to {paired.high:+.2f})"
    return row


def _controls(evaluation: Evaluation, controls: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    metrics = [name for name in next(iter(controls.values())) if name in evaluation.metrics]
    rows = [("trained model", [f"{evaluation.metrics[name]:.2f}" for name in metrics])]
    rows += [
        (name.replace("_", " "), [f"{values[metric]:.2f}" for metric in metrics]) for name, values in controls.items()
    ]
    return {"metrics": metrics, "rows": rows}


def _filters(shown: Sequence[Card]) -> list[dict[str, Any]]:
    """What the cards can be filtered by; several filters hold together."""
    found = [
        {"key": "kind", "choices": list(dict.fromkeys(card["kind"] for card in shown))},
        {"key": "category", "choices": sorted({card["category"] for card in shown})},
    ]
    return [{**one, "choices": ["all", *one["choices"]]} for one in found if len(one["choices"]) > 1]


def _findings(inputs: ReportInputs) -> list[str]:
    """What training said loudly: H in the tail, every pair won, a temperature that ran away."""
    if inputs.training is None or not (inputs.training / "summary.json").is_file():
        return []
    return [str(finding) for finding in read_json(inputs.training / "summary.json").get("findings", [])]


def _plots(training: Path | None) -> dict[str, Any] | None:
    """The training's pictures: size of H over the minings, then each mining's, the last one first."""
    if training is None:
        return None
    minings = sorted(
        (int(path.stem) for path in (training / "minings").glob("*.png") if path.stem.isdigit()), reverse=True
    )
    sizes = training / "sizes.png"
    if not minings and not sizes.is_file():
        return None
    return {
        "sizes": plot_uri(sizes) if sizes.is_file() else None,
        "minings": [
            {
                "name": f"Before epoch {epoch + 1}",
                "scores": plot_uri(training / "minings" / f"{epoch}.png"),
                "ranks": plot_uri(ranks) if ranks.is_file() else None,
            }
            for epoch in minings
            for ranks in [training / "minings" / f"{epoch}-ranks.png"]
        ],
    }


def _markdown(inputs: ReportInputs, blocks: Sequence[Mapping[str, Any]], findings: Sequence[str]) -> str:
    lines = [f"# Evaluation of {inputs.title}", "", _subtitle(inputs), ""]
    lines += [f"> {finding}" for finding in findings] + ([""] if findings else [])
    for block in blocks:
        lines += [f"## {block['heading']}", "", str(block["note"]), ""]
        lines += _table_of_metrics(block, inputs.settings.confidence)
        if block["controls"]:
            rows = [[name, *values] for name, values in block["controls"]["rows"]]
            lines += ["", *_table(["model and query", *block["controls"]["metrics"]], rows)]
        lines += ["", str(block["champion_note"]), ""]
        if block["published"]:
            published = block["published"]
            rows = [[name, *(f"{value:.2f}" for value in values)] for name, values in published.rows.items()]
            lines += [f"Published, on {published.measured_on}: other data and other weights, not a comparison.", ""]
            lines += [*_table(["method", *published.metrics], rows), ""]
    return "\n".join(lines)


def _table_of_metrics(block: Mapping[str, Any], confidence: float) -> list[str]:
    columns = ["name", "value", "interval"] + (["champion", "difference"] if block["has_champion"] else [])
    head = ["metric", "value", f"{confidence:.0%} interval", *columns[3:]]
    return _table(head, [[row[column] for column in columns] for row in (*block["rows"], *block["by_category"])])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
