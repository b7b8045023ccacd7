"""The report: one self-contained HTML file and a Markdown summary per evaluated model.

People look before they read: queries stand in it as pictures. Captions and ids are other people's text and are escaped.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from qure.config import BENCHMARK_FOLDERS, IMAGES_OF, EvaluationSettings
from qure.datasets.image_store import open_images
from qure.datasets.truth import Truth, read_truth
from qure.evaluation.bootstrap import paired_difference
from qure.evaluation.pictures import Thumbnails, plot_uri
from qure.evaluation.published import PUBLISHED
from qure.evaluation.results import Evaluation
from qure.files import atomic_file, read_json

#: Queries shown of each kind (worst, best, drawn at random) and benchmark.
SHOWN = 8
TOP_SHOWN = 10
NAMES = {"fashioniq": "FashionIQ", "hp-fashioniq": "HP-FashionIQ", "cirr": "CIRR", "circo": "CIRCO"}


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
        champion_name: for example "version 3".
        training: the training stage's folder, for its plots and findings.
        excluded: benchmark -> number of images and queries that validation tolerated and dropped.
    """

    title: str
    evaluations: Sequence[Evaluation]
    data: Path
    settings: EvaluationSettings
    controls: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    champion: Sequence[Evaluation] = ()
    champion_name: str = "champion"
    training: Path | None = None
    excluded: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def write_report(inputs: ReportInputs, folder: Path) -> None:
    """Writes report.html and summary.md into `folder`."""
    blocks = [_block(evaluation, inputs) for evaluation in inputs.evaluations]
    findings = _findings(inputs)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qure.evaluation", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    html = environment.get_template("report.html.j2").render(
        title=f"Evaluation of {inputs.title}",
        subtitle="Percent unless said otherwise; intervals by bootstrap over queries (HP-FashionIQ: over people).",
        confidence=f"{inputs.settings.confidence:.0%}",
        findings=findings,
        blocks=blocks,
        plots=_plots(inputs.training),
    )
    with atomic_file(folder / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8")
    with atomic_file(folder / "summary.md") as temporary:
        temporary.write_text(_markdown(inputs, blocks, findings), encoding="utf-8")


def _block(evaluation: Evaluation, inputs: ReportInputs) -> dict[str, Any]:
    benchmark = evaluation.benchmark
    champion = next((other for other in inputs.champion if other.benchmark == benchmark), None)
    comparable = champion is not None and champion.data_fingerprint == evaluation.data_fingerprint
    truth = read_truth(inputs.data / BENCHMARK_FOLDERS[benchmark])
    trained_here = evaluation is inputs.evaluations[0]
    queries = _queries(evaluation, inputs.data, truth)
    return {
        "name": benchmark,
        "heading": f"{NAMES[benchmark]} {evaluation.split}",
        "note": _note(evaluation, inputs, rendered=truth is not None),
        "rendered": truth is not None,
        "has_champion": comparable,
        "champion_note": _champion_note(champion, comparable, inputs.champion_name),
        "rows": [
            _row(evaluation, name, champion if comparable else None, inputs.settings) for name in evaluation.metrics
        ],
        "controls": _controls(evaluation, inputs.controls) if trained_here and inputs.controls else None,
        "published": PUBLISHED.get(benchmark),
        "queries": queries,
        "choices": ["all", *sorted({tag for query in queries for tag in query["tags"]})],
    }


def _note(evaluation: Evaluation, inputs: ReportInputs, *, rendered: bool) -> str:
    parts = [f"{len(evaluation.per_query):,} queries."]
    if rendered:
        parts.append("Rendered catalogue: these numbers are not the paper's and cannot be compared with it.")
    dropped = inputs.excluded.get(evaluation.benchmark, {})
    if any(dropped.values()):
        parts.append(
            f"Left out because validation tolerated their defects: {dropped.get('images', 0)} images, "
            f"{dropped.get('queries', 0)} queries."
        )
    parts.extend(
        f"{name.replace('_', ' ')}: {value}." for name, value in evaluation.details.items() if value is not None
    )
    return " ".join(parts)


def _champion_note(champion: Evaluation | None, comparable: bool, name: str) -> str:
    if champion is None:
        return "There is no champion yet to compare with."
    if not comparable:
        return f"The champion ({name}) was evaluated on other data; promotion evaluates it again before it compares."
    return f"Champion: {name}, the same queries; the difference's interval comes from a paired bootstrap."


def _row(
    evaluation: Evaluation, name: str, champion: Evaluation | None, settings: EvaluationSettings
) -> dict[str, str]:
    value = evaluation.metrics[name]
    bounds = evaluation.intervals.get(name)
    row = {
        "name": name,
        "value": f"{value:.2f}" if bounds else f"{value:,.6g}",
        "interval": f"{bounds[0]:.2f} to {bounds[1]:.2f}" if bounds else "",
        "champion": "",
        "difference": "",
    }
    if champion is not None and bounds and name in champion.metrics:
        paired = paired_difference(
            evaluation, champion, name, samples=settings.bootstrap_samples, confidence=settings.confidence
        )
        row["champion"] = f"{paired.b:.2f}"
        row["difference"] = f"{paired.difference:+.2f} ({paired.low:+.2f} to {paired.high:+.2f})"
    return row


def _controls(evaluation: Evaluation, controls: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    metrics = [name for name in next(iter(controls.values())) if name in evaluation.metrics]
    rows = [("trained model", [f"{evaluation.metrics[name]:.2f}" for name in metrics])]
    rows += [(name, [f"{values[metric]:.2f}" for metric in metrics]) for name, values in controls.items()]
    return {"metrics": metrics, "rows": rows}


def _queries(evaluation: Evaluation, data: Path, truth: Truth | None) -> list[dict[str, Any]]:
    table = evaluation.per_query
    if not evaluation.top or "rank" not in table.columns:
        return []
    thumbnails = Thumbnails(open_images(data / BENCHMARK_FOLDERS[IMAGES_OF[evaluation.benchmark]]))
    return [_query(row, kind, evaluation, thumbnails, truth) for kind, row in _chosen(table)]


def _chosen(table: pd.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """Worst and best queries and some drawn at random (the same ones every time)."""
    ordered = table.sort_values(["rank", "query_id"], kind="stable")
    rows = [{str(name): value for name, value in row.items()} for row in ordered.to_dict("records")]
    best, worst = rows[:SHOWN], rows[SHOWN:][::-1][:SHOWN]
    middle = rows[SHOWN : max(SHOWN, len(rows) - SHOWN)]
    drawn = random.Random(0).sample(middle, min(SHOWN * 2, len(middle)))
    return [("drawn", row) for row in drawn] + [("worst", row) for row in worst] + [("best", row) for row in best]


def _query(
    row: dict[str, Any], kind: str, evaluation: Evaluation, thumbnails: Thumbnails, truth: Truth | None
) -> dict[str, Any]:
    query_id = row["query_id"]
    hits = evaluation.top[query_id][:TOP_SHOWN]
    shares = truth.relevance(query_id, [image for image, _ in hits]) if truth else [None] * len(hits)
    answers = set(row["answers"]) if row.get("answers") is not None and "answers" in row else {row["target"]}
    tags = [kind] + ([row["category"]] if row.get("category") else [])
    return {
        "id": query_id,
        "text": row["text"],
        "rank": int(row["rank"]),
        "tags": tags,
        "reference": {"id": row["reference"], "picture": thumbnails[row["reference"]]},
        "target": {"id": row["target"], "picture": thumbnails[row["target"]]} if row.get("target") else None,
        "hits": [
            {
                "id": image,
                "picture": thumbnails[image],
                "score": f"{score:.3f}",
                "mark": "right" if image in answers else "relevant" if share is not None and share >= 1 else "wrong",
                "note": "" if share is None else f"{share:.0%} met",
            }
            for (image, score), share in zip(hits, shares, strict=True)
        ],
    }


def _findings(inputs: ReportInputs) -> list[str]:
    """What training said loudly: H in the tail, every pair won, a temperature that ran away."""
    if inputs.training is None or not (inputs.training / "summary.json").is_file():
        return []
    return [str(finding) for finding in read_json(inputs.training / "summary.json").get("findings", [])]


def _plots(training: Path | None) -> list[dict[str, str]]:
    if training is None:
        return []
    return [
        {"name": path.stem.replace("_", " "), "picture": plot_uri(path)} for path in sorted(training.rglob("*.png"))
    ]


def _markdown(inputs: ReportInputs, blocks: Sequence[Mapping[str, Any]], findings: Sequence[str]) -> str:
    lines = [f"# Evaluation of {inputs.title}", ""]
    lines += [f"> {finding}" for finding in findings] + ([""] if findings else [])
    for block in blocks:
        lines += [f"## {block['heading']}", "", str(block["note"]), ""]
        head = ["metric", "value", f"{inputs.settings.confidence:.0%} interval"]
        head += ["champion", "difference"] if block["has_champion"] else []
        lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for row in block["rows"]:
            cells = [row["name"], row["value"], row["interval"]]
            cells += [row["champion"], row["difference"]] if block["has_champion"] else []
            lines.append("| " + " | ".join(cells) + " |")
        if block["controls"]:
            lines += ["", "| model and query | " + " | ".join(block["controls"]["metrics"]) + " |"]
            lines += ["|---" * (1 + len(block["controls"]["metrics"])) + "|"]
            lines += [f"| {name} | " + " | ".join(values) + " |" for name, values in block["controls"]["rows"]]
        lines += ["", str(block["champion_note"]), ""]
    return "\n".join(lines)
