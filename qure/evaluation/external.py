"""`qure evaluate-embeddings`: the four protocols for any model's embeddings.

Nothing of QuRe is needed: a folder with a benchmark's own files, and two embeddings files
(`qure.evaluation.embeddings` tells the format)::

    from qure.evaluation import evaluate_embeddings, write_embeddings

    write_embeddings("queries.safetensors", query_ids, query_vectors)      # (Q, D)
    write_embeddings("gallery.safetensors", image_ids, image_vectors)      # (N, D), or (N, T, D): max over T
    evaluate_embeddings("cirr", "data/cirr", "val", "queries.safetensors", "gallery.safetensors", "metrics.json")

Query ids: FashionIQ "{category}/{row}" (row of the captions file, from 0), CIRR the pair id, CIRCO the query's id,
HP-FashionIQ "{user}/{question_set}/{row}". Image ids: the benchmark's own; CIRCO's are COCO's numbers, with or
without leading zeros.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qure.config import BENCHMARK_FOLDERS, EvaluationSettings
from qure.datasets.types import Gallery
from qure.errors import BadInput
from qure.evaluation.embeddings import Embeddings, named, read_embeddings
from qure.evaluation.results import Evaluation
from qure.files import write_json

#: Splits whose answers are withheld: a submission is written instead of metrics.
WITHHELD = {("cirr", "test1"), ("circo", "test")}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line hands over, with both embeddings files open."""

    root: Path
    split: str
    queries: Embeddings
    candidates: Embeddings
    settings: EvaluationSettings
    category: str | None
    device: str


def evaluate_embeddings(
    benchmark: str,
    root: Path | str,
    split: str,
    queries: Path | str,
    gallery: Path | str,
    output: Path | str,
    gallery_protocol: str = "original",
    category: str | None = None,
    *,
    settings: EvaluationSettings | None = None,
    results: Path | str | None = None,
    device: str = "cpu",
) -> dict[str, Any]:
    """Evaluates embeddings files and writes `output`.

    Args:
        benchmark: "fashioniq", "cirr", "hp-fashioniq" or "circo".
        root: the folder that holds the benchmark's own files: captions/ and image_splits/ (FashionIQ, CIRR),
            hpfiq.json, or annotations/ (CIRCO; without COCO's index there the gallery is the embeddings file's,
            and `partial_gallery` says so).
        split: "val"; "test1" of CIRR and "test" of CIRCO write submission files beside `output` instead of
            metrics. HP-FashionIQ has one split only, any name will do.
        queries: embeddings file, one vector per query.
        gallery: embeddings file, one or several vectors per image; more images than the protocol's are ignored.
        output: metrics.json.
        gallery_protocol: FashionIQ's gallery, "original" or "val".
        category: FashionIQ's "dress", "shirt" or "toptee" alone; None asks for all three and their mean.
        settings: of the bootstrap; `gallery_protocol` above wins over the settings' own.
        results: folder for the per-query results, which `Evaluation.load` reads for a paired comparison.
        device: where scores are computed.

    Returns:
        what `output` holds: flat percent keys (`recall_at_10`, ...), counts, `intervals` (key -> [low, high]), and
        what was evaluated (`benchmark`, `split`, `confidence`, `data_fingerprint`, ...).

    Raises:
        BadInput: anything wrong with the benchmark's files or the embeddings, before a number is written.
    """
    if benchmark not in BENCHMARK_FOLDERS:
        raise BadInput(f"no benchmark {benchmark!r}", remedy=f"Benchmarks are {', '.join(BENCHMARK_FOLDERS)}")
    if category is not None and benchmark != "fashioniq":
        raise BadInput(f"{benchmark!r} is not evaluated by category", field="category")
    chosen = (settings or EvaluationSettings()).model_copy(update={"gallery_protocol": gallery_protocol})
    asked = Asked(Path(root), split, read_embeddings(queries), read_embeddings(gallery), chosen, category, device)
    if (benchmark, split) in WITHHELD:
        content = _submission(benchmark, asked, Path(output))
    else:
        evaluation = _EVALUATORS[benchmark](asked)
        content = flat(evaluation)
        if results is not None:
            evaluation.save(Path(results))
    write_json(Path(output), content)
    return content


def flat(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as metrics.json holds it."""
    return {
        "benchmark": evaluation.benchmark,
        "split": evaluation.split,
        **evaluation.metrics,
        "intervals": {name: list(bounds) for name, bounds in evaluation.intervals.items()},
        **evaluation.details,
        "data_fingerprint": evaluation.data_fingerprint,
    }


def _fashioniq(asked: Asked) -> Evaluation:
    from qure.datasets import fashioniq as files
    from qure.datasets.truth import read_truth
    from qure.evaluation import fashioniq

    if asked.category is not None and asked.category not in files.CATEGORIES:
        raise BadInput(f"no category {asked.category!r}", remedy=f"Categories are {', '.join(files.CATEGORIES)}")
    categories = files.CATEGORIES if asked.category is None else (asked.category,)
    protocol = asked.settings.gallery_protocol
    return fashioniq.evaluate(
        files.read_triplets(asked.root, asked.split, categories),
        {category: files.read_gallery(asked.root, asked.split, category, protocol) for category in categories},
        asked.queries,
        asked.candidates,
        settings=asked.settings,
        split=asked.split,
        truth=read_truth(asked.root, asked.split),
        device=asked.device,
    )


def _cirr(asked: Asked) -> Evaluation:
    from qure.datasets import cirr as files
    from qure.datasets.truth import read_truth
    from qure.evaluation import cirr

    return cirr.evaluate(
        files.read_triplets(asked.root, asked.split),
        files.read_gallery(asked.root, asked.split),
        asked.queries,
        asked.candidates,
        settings=asked.settings,
        split=asked.split,
        truth=read_truth(asked.root, asked.split),
        device=asked.device,
    )


def _circo(asked: Asked) -> Evaluation:
    from qure.datasets import circo as files
    from qure.datasets.truth import read_truth
    from qure.evaluation import circo

    candidates, gallery, partial = _circo_gallery(asked)
    return circo.evaluate(
        files.read_triplets(asked.root, asked.split),
        gallery,
        asked.queries,
        candidates,
        settings=asked.settings,
        split=asked.split,
        truth=read_truth(asked.root, asked.split),
        device=asked.device,
        partial_gallery=partial,
    )


def _hp_fashioniq(asked: Asked) -> Evaluation:
    from qure.datasets import hp_fashioniq as files
    from qure.evaluation import hp_fashioniq

    return hp_fashioniq.evaluate(files.read_pairs(asked.root), asked.queries, asked.candidates, settings=asked.settings)


_EVALUATORS = {"fashioniq": _fashioniq, "cirr": _cirr, "circo": _circo, "hp-fashioniq": _hp_fashioniq}


def _submission(benchmark: str, asked: Asked, output: Path) -> dict[str, Any]:
    from qure.datasets import circo as circo_files
    from qure.datasets import cirr as cirr_files
    from qure.evaluation import circo, cirr, submissions

    folder = output.parent
    if benchmark == "cirr":
        triplets = cirr_files.read_triplets(asked.root, asked.split)
        gallery = cirr_files.read_gallery(asked.root, asked.split)
        recall, subset = cirr.predict(triplets, gallery, asked.queries, asked.candidates, device=asked.device)
        files = submissions.write_cirr_submissions(folder, asked.root, recall, subset, split=asked.split)
        more: Mapping[str, Any] = {}
    else:
        triplets = circo_files.read_triplets(asked.root, asked.split)
        candidates, gallery, partial = _circo_gallery(asked)
        ranking = circo.predict(triplets, gallery, asked.queries, candidates, device=asked.device)
        path = folder / f"circo_{asked.split}.json"
        files = {"map": submissions.write_circo_submission(path, asked.root, ranking, split=asked.split)}
        more = {"partial_gallery": partial}
    return {
        "benchmark": benchmark,
        "split": asked.split,
        "queries": len(triplets),
        "gallery_size": len(gallery.ids),
        **more,
        "submissions": {metric: file.name for metric, file in files.items()},
    }


def _circo_gallery(asked: Asked) -> tuple[Embeddings, Gallery, bool]:
    """The embeddings with COCO's numbers as ids, the gallery, and whether that is not COCO's whole index."""
    from qure.datasets import circo as files

    candidates = Embeddings(
        coco_ids(asked.candidates.ids, file=asked.candidates.name),
        asked.candidates.source,
        name=asked.candidates.name,
    )
    if files.has_index(asked.root):
        return candidates, files.read_gallery(asked.root), False
    return candidates, Gallery("circo/partial", candidates.ids), True


def coco_ids(ids: Sequence[str], *, file: str) -> list[str]:
    """COCO's image numbers without leading zeros.

    Raises:
        BadInput: an id that is not a whole number.

    >>> coco_ids(["57413", "000000057414"], file="gallery.safetensors")
    ['57413', '57414']
    """
    wrong = [identifier for identifier in ids if not (identifier.isascii() and identifier.isdigit())]
    if wrong:
        raise BadInput(f"ids that are no COCO image numbers: {named(wrong)}", file=file, field="ids")
    return [str(int(identifier)) for identifier in ids]
