"""`qure evaluate-embeddings`: the four protocols for any model's embeddings.

Nothing of QuRe is needed: a folder with a benchmark's own files, and two embeddings files
(`qure.evaluation.ranking.embeddings` tells the format)::

    from qure.evaluation import evaluate_embeddings, write_embeddings

    write_embeddings("queries.safetensors", query_ids, query_vectors)      # (Q, D)
    write_embeddings("gallery.safetensors", image_ids, image_vectors)      # (N, D), or (N, T, D): max over T
    evaluate_embeddings("cirr", "data/cirr", "val", "queries.safetensors", "gallery.safetensors", "metrics.json")

Query ids: FashionIQ "{category}/{row}" (row of the captions file, from 0), CIRR the pair id, CIRCO the query's id,
HP-FashionIQ "{user}/{question_set}/{row}". Image ids: the benchmark's own; CIRCO's are COCO's numbers, with or
without leading zeros.
"""

from pathlib import Path
from typing import Any

from qure.benchmarks import Scope, get_benchmark
from qure.config import EvaluationSettings
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings, read_embeddings
from qure.evaluation.statistics.results import Evaluation
from qure.files import write_json


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
        benchmark: one of `qure.benchmarks.benchmarks()`.
        root: the folder that holds the benchmark's own files; where the file that lists its gallery is missing
            (CIRCO), the gallery is the embeddings file's, and `partial_gallery` says so.
        split: "val"; a split whose answers are withheld (`Benchmark.withheld`) gives submission files beside `output`
            instead of metrics. HP-FashionIQ has one split only, any name will do.
        queries: embeddings file, one vector per query.
        gallery: embeddings file, one or several vectors per image; more images than the protocol's are ignored.
        output: metrics.json.
        gallery_protocol: which gallery where there are several (FashionIQ: "original" or "val").
        category: one of the benchmark's categories alone; None asks for all and their mean.
        settings: of the bootstrap; `gallery_protocol` above wins over the settings' own.
        results: folder for the per-query results, which `Evaluation.load` reads for a paired comparison.
        device: where scores are computed.

    Returns:
        what `output` holds: flat percent keys (`recall_at_10`, ...), counts, `intervals` (key -> [low, high]), and
        what was evaluated (`benchmark`, `split`, `confidence`, `data_fingerprint`, ...).

    Raises:
        BadInput: anything wrong with the benchmark's files or the embeddings, before a number is written.
    """
    one, root, output = get_benchmark(benchmark), Path(root), Path(output)
    if category is not None and not one.categories:
        raise BadInput(f"{one.name!r} is not evaluated by category", field="category")
    asked, found = read_embeddings(queries), read_embeddings(gallery)
    if category is not None and category not in one.categories:
        raise BadInput(f"no category {category!r}", remedy=f"Categories are {', '.join(one.categories)}")
    candidates = Embeddings(one.canonical_ids(found.ids, file=found.name), found.source, name=found.name)
    categories = None if category is None else (category,)
    scope = Scope(gallery_protocol=gallery_protocol, categories=categories, candidates=candidates.ids)
    read = one.read(root, split, scope)
    content: dict[str, Any]
    if split == one.withheld:
        partial = {"partial_gallery": not (root / one.gallery_file).is_file()} if one.gallery_file else {}
        files = one.write_submissions(read, asked, candidates, output.parent, root=root, device=device)
        content = {
            "benchmark": one.name,
            "split": split,
            "queries": len(read.questions),
            "gallery_size": len(read.images),
            **partial,
            "submissions": {metric: file.name for metric, file in files.items()},
        }
    else:
        # Which order of captions a query's vector was made with is the embeddings file's own matter.
        own = {"gallery_protocol": gallery_protocol, "caption_order": "file"}
        chosen = (settings or EvaluationSettings()).model_copy(update=own)
        evaluation = one.judge(read, asked, candidates, settings=chosen, device=device)
        content = flat(evaluation)
        if results is not None:
            evaluation.save(Path(results))
    write_json(output, content)
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
