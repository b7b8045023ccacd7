"""The report: one self-contained HTML file, a Markdown summary and a model card per evaluated model.

People look before they read: queries stand in it as pictures. Captions and ids are other people's text and are escaped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2

from qure.benchmarks import benchmarks, get_benchmark
from qure.config import EvaluationSettings
from qure.datasets.image_store import open_images
from qure.datasets.truth import read_truth
from qure.evaluation.findings import METRIC, Finding, read_findings
from qure.evaluation.headline import Headline, headline
from qure.evaluation.markdown import table
from qure.evaluation.model_card import model_card, warnings
from qure.evaluation.provenance import UNFILLED
from qure.evaluation.report import PLOTS, hard_negatives
from qure.evaluation.report.cards import SYMBOLS, Card, cards, hard_negative_cards
from qure.evaluation.report.meanings import meaning
from qure.evaluation.report.pictures import Thumbnails, plot_uri
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.wording import between, control_name, difference, number, short_name
from qure.files import atomic_file, read_json


@dataclass(frozen=True)
class ReportInputs:
    """What a report shows of an evaluation.

    Attributes:
        training_set: "fashioniq" or "cirr".
        folder: the evaluation's, which holds metrics.json, comparisons.json, findings.json and plots/.
        evaluations: of the model, one per benchmark.
        data: data root, for the pictures and the true attributes.
        settings: how intervals were made.
        champion: the champion's evaluations on the same benchmarks; empty where there is none.
        training: the training stage's folder, for its plots and findings.
        excluded: benchmark -> number of images and queries that validation tolerated and dropped.
    """

    training_set: str
    folder: Path
    evaluations: Sequence[Evaluation]
    data: Path
    settings: EvaluationSettings
    champion: Sequence[Evaluation] = ()
    training: Path | None = None
    excluded: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @cached_property
    def controls(self) -> Mapping[str, Mapping[str, float]]:
        """Control name -> metrics on the training benchmark (untrained, shuffled references, ...)."""
        return dict(read_json(self.folder / "metrics.json").get("controls", {}))

    @cached_property
    def differences(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """Control name -> metric -> paired difference to the model."""
        return dict(read_json(self.folder / "comparisons.json").get("controls", {}))

    @cached_property
    def findings(self) -> Sequence[Finding]:
        """What is wrong with the model (`qure.evaluation.findings`)."""
        return read_findings(self.folder)


def write_report(inputs: ReportInputs, folder: Path) -> None:
    """Writes report.html, summary.md and model_card.md into `folder`."""
    blocks = [_block(evaluation, inputs) for evaluation in inputs.evaluations]
    own = inputs.evaluations[0]
    lead = headline(
        f"qure-{inputs.training_set}",
        own,
        blocks[0]["heading"],
        inputs.controls,
        inputs.findings,
        rendered=blocks[0]["rendered"],
    )
    notes = _training_notes(inputs)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qure.evaluation.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("report.html.j2").render(
        title=f"Evaluation of qure-{inputs.training_set}",
        lead=lead,
        method=_method(inputs),
        unfilled=UNFILLED,
        confidence=f"{inputs.settings.confidence:.0%}",
        findings=inputs.findings,
        notes=notes,
        blocks=blocks,
        symbols={**SYMBOLS, "shown": ""},
        short_name=short_name,
        training=_plots(inputs.training),
    )
    card = model_card(
        inputs.training_set,
        lead,
        inputs.findings,
        {block["heading"]: one for block, one in zip(blocks, inputs.evaluations, strict=True)},
        inputs.controls,
        rendered=blocks[0]["rendered"],
    )
    texts = {"report.html": page, "summary.md": _markdown(inputs, lead, blocks, notes), "model_card.md": card}
    for name, text in texts.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _method(inputs: ReportInputs) -> str:
    settings = inputs.settings
    others = "".join(f"; for {one.title} of the {one.resampled}" for one in benchmarks() if one.resampled != "queries")
    return (
        f"Numbers are percent. {settings.confidence * 100:g} % intervals from {settings.bootstrap_samples:,} bootstrap "
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
    sets = inputs.folder / PLOTS / hard_negatives.FILE if evaluation is inputs.evaluations[0] else None
    measured = [measure for measure in evaluation.measures if measure.name in evaluation.metrics]
    trained_here = evaluation is inputs.evaluations[0]
    return {
        "name": benchmark,
        "heading": one.title + (f" {evaluation.split}" if evaluation.split != "all" else ""),
        "note": _note(evaluation, inputs, rendered=truth is not None),
        "rendered": truth is not None,
        "has_champion": comparable,
        "champion_note": _champion_note(champion, comparable),
        "rows": [_row(evaluation, each, rival, inputs.settings) for each in measured if each.where is None],
        "by_category": [_row(evaluation, each, rival, inputs.settings) for each in measured if each.where is not None],
        "meanings": {
            f"{short_name(each.name)} ({each.name})": meaning(each.name, benchmark)
            for each in measured
            if each.where is None
        },
        "controls": _controls(evaluation, inputs) if trained_here and inputs.controls else None,
        "published": one.published,
        "drawn": sum(card["kind"] == "random" for card in shown),
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


def _champion_note(champion: Evaluation | None, comparable: bool) -> str:
    if champion is None:
        return "No champion's evaluation was given to compare with; promotion compares with the registry's champion."
    if not comparable:
        return "The champion was evaluated on other data; promotion evaluates it again before it compares."
    return "The champion, on the same queries: the interval of the difference comes from a paired bootstrap."


def _row(
    evaluation: Evaluation, measure: Measure, champion: Evaluation | None, settings: EvaluationSettings
) -> dict[str, str]:
    name = measure.name
    row = {
        "name": short_name(name),
        "value": number(evaluation.metrics[name]),
        "interval": between(evaluation.intervals[name]),
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
        row["champion"] = number(paired.b)
        row["difference"] = difference(paired.difference, (paired.low, paired.high))
    return row


def _controls(evaluation: Evaluation, inputs: ReportInputs) -> dict[str, Any]:
    """The model's row and each control's; last, what separates them in the headline's metric."""
    metrics = [name for name in next(iter(inputs.controls.values())) if name in evaluation.metrics]
    rows = [("this model", [number(evaluation.metrics[name]) for name in metrics], "")]
    for name, values in inputs.controls.items():
        paired = inputs.differences.get(name, {}).get(METRIC)
        gap = difference(paired["difference"], (paired["low"], paired["high"])) if paired else ""
        rows.append((control_name(name), [number(values[metric]) for metric in metrics], gap))
    return {"metrics": [short_name(name) for name in metrics], "gap": f"model minus control, {short_name(METRIC)}"} | {
        "rows": rows
    }


def _filters(shown: Sequence[Card]) -> list[dict[str, Any]]:
    """What the cards can be filtered by; several filters hold together."""
    found = [
        {"key": "kind", "choices": list(dict.fromkeys(card["kind"] for card in shown))},
        {"key": "category", "choices": sorted({card["category"] for card in shown})},
    ]
    return [{**one, "choices": ["all", *one["choices"]]} for one in found if len(one["choices"]) > 1]


def _training_notes(inputs: ReportInputs) -> list[str]:
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


def _markdown(inputs: ReportInputs, lead: Headline, blocks: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    lines = [f"# Evaluation of qure-{inputs.training_set}", "", *warnings(inputs.findings), lead.text, ""]
    lines += [f"<!-- provenance -->{UNFILLED}<!-- /provenance -->", "", _method(inputs), ""]
    lines += [f"> {note}" for note in notes] + ([""] if notes else [])
    for block in blocks:
        lines += [f"## {block['heading']}", "", str(block["note"]), ""]
        lines += _table_of_metrics(block, inputs.settings.confidence)
        if block["controls"]:
            controls = block["controls"]
            rows = [[name, *values, gap] for name, values, gap in controls["rows"]]
            lines += ["", *table(["model and query", *controls["metrics"], controls["gap"]], rows)]
        lines += ["", str(block["champion_note"]), ""]
        if block["published"]:
            published = block["published"]
            rows = [[name, *(f"{value:.2f}" for value in values)] for name, values in published.rows.items()]
            lines += [f"Published, on {published.measured_on}: other data and other weights, not a comparison.", ""]
            lines += [*table(["method", *map(short_name, published.metrics)], rows), ""]
    return "\n".join(lines)


def _table_of_metrics(block: Mapping[str, Any], confidence: float) -> list[str]:
    columns = ["name", "value", "interval"] + (["champion", "difference"] if block["has_champion"] else [])
    head = ["metric", "this model", f"{confidence:.0%} interval", *columns[3:]]
    return table(head, [[row[column] for column in columns] for row in (*block["rows"], *block["by_category"])])
