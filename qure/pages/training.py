"""The train stage's page: whether it learned, what its negatives were like, and one of them to look at."""

import io
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qure.datasets.benchmarks import read_training
from qure.errors import BadInput
from qure.evaluation.report.pictures import data_uri
from qure.evaluation.statistics.curves import training_curve
from qure.files import read_json
from qure.negatives.plots import BLUE, STYLE, VERMILION
from qure.pages.markdown import Page, Part, Picture, code, prose
from qure.pages.pictures import Images, fitted
from qure.progress import counted

#: Inches and dots per inch of a curve: as wide as the pages' frame, less a margin.
_SIZE, _DPI = (5.0, 2.6), 100


def training_page(training_set: str, training: Path, data: Path) -> Page:
    """How a training went.

    Args:
        training_set: which.
        training: the train stage's folder.
        data: data root, for the mined example's pictures.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    summary, curve = read_json(training / "summary.json"), training_curve(training)
    first, last = curve["loss"].iloc[0], curve["loss"].iloc[-1]
    findings = [str(one) for one in summary["findings"]]
    trouble = f"{counted(len(findings), 'finding')} to look at" if findings else "nothing stood out"
    page = Page(
        f"Training of qure-{training_set}",
        f"{counted(summary['epochs'], 'epoch')}, loss {first:.4f} to {last:.4f}: {trouble}.",
        [
            ("Model", summary["model_fingerprint"][:12]),
            ("Triplets", f"{summary['triplets']:,}, held out {summary['held_out']:,}"),
            ("Steps", f"{summary['steps']:,}{', stopped early' if summary['stopped_early'] else ''}"),
            ("Weights of", f"epoch {summary['selected_epoch'] + 1}, by {summary['selected_by']}"),
            ("Pairs won in the last epoch", f"{summary['pair_accuracy']:.2%}"),
            ("Temperature", f"{summary['temperature']:.4f}"),
            ("Left out", ", ".join(f"{count:,} {what}" for what, count in summary["excluded"].items())),
        ],
    )
    if findings:
        page.section("Findings", "\n".join(f"- {prose(one)}" for one in findings))
    page.section("Loss", [Picture("loss and share of pairs won, by epoch", _curves(curve))])
    if (training / "sizes.png").is_file():
        page.section(
            "Hard negatives", [Picture("hard negatives per query at each mining", fitted(training / "sizes.png"))]
        )
    if (training / "example.json").is_file():
        page.section("A mined query", *_example(training_set, training, data))
    return page


def _example(training_set: str, training: Path, data: Path) -> list[Part]:
    """A typical query of the last mining: what was asked, what is right, and what was taken for its negatives."""
    example = read_json(training / "example.json")
    images = Images(data, training_set)
    asked = _text_of(training_set, data, example["query_id"])
    text = (
        f"Query {code(example['query_id'])} before epoch {example['epoch'] + 1}: {code(asked)}. The target is at rank "
        f"{example['target_rank'] + 1:,} of {example['corpus_size']:,}; {counted(example['size'], 'hard negative')} at "
        f"ranks {example['first'] + 1:,} to {example['last'] + 1:,}."
    )
    named = [("reference", example["reference"]), ("target", example["target"])]
    question = [one for what, image in named if (one := images.picture(image, f"{what} {image}"))]
    negatives = [one for image in example["negatives"] if (one := images.picture(image, f"negative {image}"))]
    parts: list[Part] = [text]
    if (training / "example.png").is_file():
        parts.append([Picture("its sorted relevance with the two steep drops", fitted(training / "example.png"))])
    if question:
        parts += ["Reference and target:", question]
    if negatives:
        parts += [f"{len(negatives)} of its hard negatives:", negatives]
    return parts


def _text_of(training_set: str, data: Path, query_id: str) -> str:
    try:
        triplets, _ = read_training(training_set, data)
    except BadInput:
        return ""
    return next((triplet.text for triplet in triplets if triplet.query_id == query_id), "")


def _curves(curve: pd.DataFrame) -> str:
    """Loss and pairs won over the epochs, as a `data:` URI."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=_SIZE, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        loss = figure.subplots()
        loss.plot(curve["epoch"], curve["loss"], color=BLUE, marker="o")
        loss.set_xlabel("epoch")
        loss.set_ylabel("loss", color=BLUE)
        loss.xaxis.set_major_locator(MaxNLocator(integer=True))
        won = loss.twinx()
        won.plot(curve["epoch"], curve["pair_accuracy"], color=VERMILION, marker="s", linestyle="--")
        won.set_ylabel("pairs won", color=VERMILION)
        won.grid(visible=False)
        figure.savefig(buffer, format="png")
    return data_uri(buffer.getvalue(), "image/png")
