"""What people read in MLflow's registry: a registered model's page with its history, a version's model card.

Descriptions are Markdown. What qure writes stands below a heading of its own; a person's words above it stay.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qure.benchmarks import get_benchmark
from qure.evaluation.wording import RANDOM
from qure.registry.history import Entry

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from qure.evaluation.statistics.results import Evaluation
    from qure.registry.registration import Trained

HISTORY, DECISION = "## Who was champion", "## Decision"
#: Newest changes that the page shows; all of them are in the tags.
_SHOWN = 50
#: What a card shows of each benchmark, where it was measured.
_METRICS = {
    "recall_at_1": "R@1",
    "recall_at_5": "R@5",
    "recall_at_10": "R@10",
    "recall_at_50": "R@50",
    "recall_subset_at_1": "R_subset@1",
    "ndcg_at_10": "nDCG@10",
    "map_at_10": "mAP@10",
    "agreement": "agreement with people",
}
_CONTROLS = {
    "untrained_backbone": "the backbone before training",
    "shuffled_references": "another query's reference image",
    "empty_text": "no text",
    RANDOM: "a random order",
}


def model_description(name: str) -> str:
    """What a registered model is, and what its aliases mean."""
    training_set = name.removeprefix("qure-")
    return (
        f"Composed-image retrieval with QuRe (ICML 2025), trained on {training_set}: a picture and a sentence that "
        "changes it find pictures in a gallery.\n\n"
        f"- **champion** answers queries: `models:/{name}@champion`. A version becomes champion by `qure promote`: it "
        "loads and answers, reaches the thresholds, and is not worse than the champion on the same queries. "
        f"`qure rollback --training-set {training_set}` brings the champion before back.\n"
        "- **challenger** is the version that was registered last.\n\n"
        "Each version's description is its model card. The tags `qure.champion.*` are the history below for "
        "programs; leave them to qure. Setting the alias by hand is respected and becomes part of the history."
    )


def tell_history(client: "MlflowClient", name: str, history: Sequence[Entry]) -> None:
    """Writes the history into a registered model's description."""
    present = client.get_registered_model(name).description or ""
    above = present.partition(HISTORY)[0].strip()
    if not above or above.startswith("QuRe, a composed-image-retrieval model"):  # as older versions of qure wrote it
        above = model_description(name)
    client.update_registered_model(name, description=f"{above}\n\n{HISTORY}\n\n{_history_table(name, history)}")


def tell_decision(client: "MlflowClient", name: str, number: int, outcome: str, reason: str, at: str) -> None:
    """Writes how a promotion ended below a version's card."""
    present = client.get_model_version(name, str(number)).description or ""
    above = present.partition(DECISION)[0].rstrip()
    client.update_model_version(name, str(number), f"{above}\n\n{DECISION}\n\n{at}: **{outcome}**: {reason}.".strip())


def card(
    trained: "Trained",
    facts: Mapping[str, str],
    controls: Mapping[str, Mapping[str, Any]],
    run: tuple[str, str],
) -> str:
    """The model card of a version.

    Args:
        trained: what is registered.
        facts: commit and fingerprints, by name.
        controls: control -> metric -> percent, of the training set's own benchmark.
        run: ids of the experiment and of the run that keeps the evaluation.
    """
    own = trained.training_set
    backbone, notes = str(trained.manifest.get("backbone", "")), []
    if backbone == "catalogue":
        notes.append(
            "Trained and judged on the embedded, rendered catalogue: its numbers say that the pipeline works, and are "
            "no results on the published benchmark."
        )
    notes += _doubts(trained.evaluations[own], controls)
    lines = [
        f"**QuRe, trained on {trained.training_set}.** A picture and a sentence that changes it find pictures.",
        "",
        "| benchmark | metric | value, % | interval | queries |",
        "|---|---|---|---|---|",
        *(row for benchmark, found in trained.evaluations.items() for row in _rows(benchmark, found)),
        "",
        *([*_control_lines(trained.evaluations[own], controls), ""] if controls else []),
        *([*(f"- {note}" for note in notes), ""] if notes else []),
        "| made of | |",
        "|---|---|",
        f"| backbone | {backbone or 'unknown'} |",
        *(f"| {name} | `{value}` |" for name, value in facts.items()),
        f"| report | [evaluation run](#/experiments/{run[0]}/runs/{run[1]}/artifacts), `evaluations/.../report.html` |",
        "",
        "```python",
        f'model = mlflow.pyfunc.load_model("models:/qure-{trained.training_set}@champion")',
        'model.predict(pandas.DataFrame({"reference": [image_bytes], "text": ["is red"], "top_k": [10]}))',
        "```",
    ]
    return "\n".join(lines)


def _history_table(name: str, history: Sequence[Entry]) -> str:
    rows = ["| when (UTC) | champion | before | how | why | by | with |", "|---|---|---|---|---|---|---|"]
    for entry in reversed(history[-_SHOWN:]):
        when = entry.at[:16].replace("T", " ")
        who = [_linked(name, entry.version), _linked(name, entry.previous), entry.reason, entry.why]
        who += [entry.by, f"`{entry.command}`" if entry.command else ""]
        rows.append(f"| {when} | {' | '.join(_cell(one) for one in who)} |")
    return "\n".join(rows)


def _rows(benchmark: str, found: "Evaluation") -> list[str]:
    rows = []
    for metric, words in _METRICS.items():
        if metric not in found.metrics:
            continue
        low, high = found.intervals.get(metric, (None, None))
        interval = "" if low is None or high is None else f"{low:.1f} to {high:.1f}"
        queries = len(found.per_query)
        rows.append(
            f"| {get_benchmark(benchmark).folder}, {found.split} | {words} | **{found.metrics[metric]:.1f}** "
            f"| {interval} | {queries:,} |"
        )
    return rows


def _control_lines(own: "Evaluation", controls: Mapping[str, Mapping[str, Any]]) -> list[str]:
    gaps = [
        f"{words} {float(controls[name]['recall_at_10']):.1f}"
        for name, words in _CONTROLS.items()
        if "recall_at_10" in controls.get(name, {})
    ]
    return [f"R@10 is {own.metrics['recall_at_10']:.1f}. With {', '.join(gaps)}."] if gaps else []


def _doubts(own: "Evaluation", controls: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = own.metrics.get("recall_at_10")
    return [
        f"**Not above its control**: R@10 is {found:.1f}, and {values['recall_at_10']:.1f} with {_CONTROLS[name]}."
        for name, values in controls.items()
        if name in _CONTROLS and found is not None and values.get("recall_at_10", float("-inf")) >= found
    ]


def _linked(name: str, version: int | None) -> str:
    return f"[version {version}](#/models/{name}/versions/{version})" if version is not None else "nobody"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
