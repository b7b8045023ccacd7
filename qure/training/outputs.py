"""What a finished training leaves: the model folder, and beside it history, minings and a summary."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qure.errors import BadInput
from qure.files import atomic_folder, read_json, write_json
from qure.models.manifest import read_manifest
from qure.negatives.plots import draw_sizes
from qure.training.checkpoint import Identity
from qure.training.loop import Trainer
from qure.training.mining import EXAMPLE, EXAMPLE_PLOT, RANKS_PLOT, RECORD, SCORES_PLOT, STATISTICS
from qure.training.state import Learner

HISTORY, STEPS, SUMMARY, MININGS, SIZES_PLOT = "history.jsonl", "steps.jsonl", "summary.json", "minings", "sizes.png"


def write_outputs(
    learner: Learner, trainer: Trainer, identity: Identity, facts: dict[str, Any], *, output: Path, backbone: Path
) -> dict[str, Any]:
    """Writes `output`/model, then `output`/training; nothing in them depends on interruptions or on the clock.

    training/ holds history.jsonl (a record per epoch), steps.jsonl (loss and pair accuracy of every step),
    minings/{epoch}.json with {epoch}.png (sorted scores), {epoch}-ranks.png (where H lies) and {epoch}.safetensors
    (what was seen of every query: `qure.negatives.record`), sizes.png, summary.json;
    example.json and example.png: a typical query of the last mining with some of its negatives.

    Returns:
        the summary.
    """
    notes = {"training": facts["training_set"], "backbone": facts["inputs"]["backbone"]}
    learner.model.save(output / "model", vision_from=backbone, notes=notes)
    summary = _summary(learner, trainer, identity, facts, read_manifest(output / "model")["fingerprint"])
    with atomic_folder(output / "training") as folder:
        _write_lines(folder / HISTORY, learner.state.history)
        _write_lines(folder / STEPS, _steps(learner))
        epochs = [one["epoch"] for one in summary["minings"]]
        _write_minings(trainer, folder, epochs)
        if epochs:
            _write_example(trainer, folder, epochs[-1])
        write_json(folder / SUMMARY, summary)
    return summary


def finished_summary(output: Path, identity: Identity) -> dict[str, Any] | None:
    """The summary of an earlier run with this identity whose outputs are all there; None when there is none."""
    try:
        summary = read_json(output / "training" / SUMMARY)
        if summary["identity"] != asdict(identity):
            return None
        whole = read_manifest(output / "model")["fingerprint"] == summary["model_fingerprint"]
    except (BadInput, KeyError, TypeError):
        return None
    return dict(summary) if whole else None


def _summary(
    learner: Learner, trainer: Trainer, identity: Identity, facts: dict[str, Any], model_fingerprint: str
) -> dict[str, Any]:
    state = learner.state
    last = state.history[-1]
    mined = sorted({record["mining"] for record in state.history if record["mining"] is not None})
    return {
        **facts,
        "settings": trainer.settings.model_dump(mode="json"),
        "identity": asdict(identity),
        "model_fingerprint": model_fingerprint,
        "triplets": len(trainer.data),
        "held_out": len(trainer.held_out) if trainer.held_out is not None else 0,
        "epochs": len(state.history),
        "steps": state.step,
        "stopped_early": state.stopped,
        "selected_epoch": state.best["epoch"] if state.best else last["epoch"],
        "selected_by": "held-out recall@10" if state.best else "last epoch",
        "best": state.best,
        "loss": last["loss"],
        "pair_accuracy": last["pair_accuracy"],
        "temperature": float(learner.model.temperature.detach()),
        "findings": state.findings,
        "minings": [
            {"epoch": epoch, **{key: value for key, value in record.items() if key.startswith("negatives_")}}
            for epoch in mined
            for record in state.history
            if record["epoch"] == epoch
        ],
    }


def _write_minings(trainer: Trainer, folder: Path, epochs: list[int]) -> None:
    (folder / MININGS).mkdir()
    statistics = []
    for epoch in epochs:
        kept = trainer.mining_folder(epoch)
        for source, name in (
            (STATISTICS, ".json"),
            (SCORES_PLOT, ".png"),
            (RANKS_PLOT, "-ranks.png"),
            (RECORD, ".safetensors"),
        ):
            if (kept / source).is_file():
                shutil.copyfile(kept / source, folder / MININGS / f"{epoch}{name}")
        statistics.append(read_json(kept / STATISTICS))
    if statistics and trainer.plots:
        labels = [f"epoch {epoch + 1}" for epoch in epochs]
        draw_sizes(statistics, folder / SIZES_PLOT, labels, "Hard negatives per query at each mining")


def _write_example(trainer: Trainer, folder: Path, epoch: int) -> None:
    """The last mining's typical query, by names instead of numbers; nothing where an older version has mined."""
    kept, data = trainer.mining_folder(epoch), trainer.data
    if not (kept / EXAMPLE).is_file():
        return
    example = read_json(kept / EXAMPLE)
    query, ids = example.pop("query"), trainer.features.ids
    names = {
        "epoch": epoch,
        "query_id": data.query_ids[query],
        "reference": str(ids[data.references[query]]),
        "target": str(ids[data.corpus[data.targets[query]]]),
    }
    negatives = [str(ids[data.corpus[column]]) for column in example.pop("negatives")]
    write_json(folder / EXAMPLE, names | example | {"negatives": negatives})
    if (kept / EXAMPLE_PLOT).is_file():
        shutil.copyfile(kept / EXAMPLE_PLOT, folder / EXAMPLE_PLOT)


def _steps(learner: Learner) -> Iterable[dict[str, Any]]:
    pairs = zip(learner.state.losses, learner.state.accuracies, strict=True)
    return ({"step": step, "loss": loss, "pair_accuracy": accuracy} for step, (loss, accuracy) in enumerate(pairs, 1))


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(record, allow_nan=False) + "\n")
