"""What the page of benchmarks says of each result: its rows, and what both columns are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A measured number, and what it is compared with where there is something.

    Attributes:
        what: in words.
        now: the number; `unit` says of what.
        before: the other way's number, in the same unit.
        more_is_better: whether it is a rate.
    """

    what: str
    now: float
    unit: str
    before: float | None = None
    more_is_better: bool = False

    @property
    def times(self) -> float | None:
        """How many times better; None without a comparison, or where there was too little to measure."""
        if not self.before or not self.now:
            return None
        return self.now / self.before if self.more_is_better else self.before / self.now


@dataclass(frozen=True)
class Section:
    """A benchmark on the page: its name, title, what both columns are, and how its rows are read from its result."""

    name: str
    title: str
    says: str
    rows: Callable[[dict[str, Any]], Iterator[Row]]


def _mining(found: dict[str, Any]) -> Iterator[Row]:
    loop, blocks = found["loop"], found["blocks"]
    for what, key, unit in (
        ("relevance", "relevance_s", "CPU s"),
        ("ranking and drops", "ranking_and_drops_s", "CPU s"),
        ("all", "all_s", "CPU s"),
        ("peak memory", "peak_mib", "MiB"),
    ):
        yield Row(what, blocks[key], unit, loop[key])


def _builds(found: dict[str, Any]) -> Iterator[Row]:
    for size, one in found["mining"].items():
        queries, images = (int(number) for number in size.split("x"))
        yield Row(f"{queries:,} queries, {images:,} images", one["now_s"]["median"], "CPU s", one["before_s"]["median"])


def _commands(found: dict[str, Any]) -> Iterator[Row]:
    for name, one in found["commands"].items():
        yield Row(f"`qure {name}`", one["now_s"]["median"], "CPU s", one["before_s"]["median"])


def _preparation(found: dict[str, Any]) -> Iterator[Row]:
    for size, one in found["sizes"].items():
        name = size.replace("x", " x ")
        yield Row(
            f"{name}, with another decoder of the same pixels", one["whole_by_simplejpeg_ms"], "ms", one["whole_ms"]
        )
        yield Row(f"{name}: decoding", 100 * one["decoding_ms"] / one["whole_ms"], "% of it")
        yield Row(f"{name}: resizing", 100 * one["resizing_ms"] / one["whole_ms"], "% of it")


def _training_step(found: dict[str, Any]) -> Iterator[Row]:
    cached, published = found["cached_features"]["median"], found["three_vit_passes"]["median"]
    yield Row(f"step of {found['batch']} triplets, {found['size']}", cached, found["unit"], published)


def _search(found: dict[str, Any]) -> Iterator[Row]:
    yield Row(f"{found['size']['images']:,} images", found["index_s"]["median"], "s", found["converting_s"]["median"])


def _index(found: dict[str, Any]) -> Iterator[Row]:
    for size, one in found["sizes"].items():
        images, tokens, dimensions = (int(part) for part in size.split("x"))
        name, exact, built = f"{images:,} x {tokens} x {dimensions}", one["exact"], one["build"]
        held = "" if exact["held"] else " (read from disk, in one pass for all queries)"
        for width, searched in one["search"].items():
            told = f"{name}, {width.replace('_', ' ')}"
            yield Row(f"{told}: recall@10", 100 * searched["recall_at_10"], "%")
            yield Row(f"{told}: an answer{held}", searched["ms_a_query"], "ms", exact["ms_a_query"])
        yield Row(f"{name}: memory of exact search", exact["resident_mib"], "MiB")
        yield Row(f"{name}: memory of a search with the index", one["search"]["as_built"]["resident_mib"], "MiB")
        yield Row(f"{name}: lists that a search looks through", built["probes"], f"of {built['lists']:,}")
        yield Row(f"{name}: index on disk", built["bytes_an_image"], "bytes an image")
        yield Row(f"{name}: building it", built["seconds"], "s")
        yield Row(f"{name}: memory while building", built["peak_mib"], "MiB")


def _growth(found: dict[str, Any]) -> Iterator[Row]:
    shape = found["size"]
    for side, what in (("mining", f"mining {shape['mined']} queries"), ("retrieval", f"{shape['searched']} searches")):
        sizes = {int(size): one for size, one in found[side]["sizes"].items()}
        yield Row(f"{what}: exponent of time", found[side]["exponent"], "(1: linear)")
        for size in (min(sizes), max(sizes)):
            yield Row(f"{what}, {size:,} images", sizes[size]["seconds"], "CPU s")
            yield Row(f"{what}, {size:,} images: memory", sizes[size]["peak_mib"], "MiB")


def _gpu(found: dict[str, Any]) -> Iterator[Row]:
    for kind in ("bf16", "fp16"):
        now, before = found["training"][f"graph_{kind}"], found["training"][f"launched_{kind}"]
        yield Row(f"training step, {kind}", now["step_ms"], "ms", before["step_ms"])
        minutes = found["projected_recipe"]
        now, before = minutes[f"graph_{kind}"], minutes[f"launched_{kind}"]
        yield Row(f"FashionIQ's recipe, projected, {kind}", now["minutes"], "min", before["minutes"])
    for name, one in found["mining"].items():
        seconds = {kind: min(values) for kind, values in one["seconds"].items()}
        size = " x ".join(f"{number:,}" for number in one["size"])
        yield Row(f"mining {name}, {size}", seconds["large_tiles"], "s", seconds["small_tiles"])


def _validation(found: dict[str, Any]) -> Iterator[Row]:
    yield Row("first run", found["first_run"]["seconds"], "s")
    yield Row("second run, nothing changed", found["second_run"]["seconds"], "s", found["first_run"]["seconds"])
    touched = found["second_run_all_files_touched"]["seconds"]
    yield Row("all files touched", touched, "s", found["first_run"]["seconds"])
    yield Row("images checked", found["parts"]["images_per_second"], "a second")
    yield Row("annotation rows checked", found["parts"]["rows_per_second"], "a second")


def _dvc_shards(found: dict[str, Any]) -> Iterator[Row]:
    for name, seconds in found["shards_s"].items():
        yield Row(f"dvc {name.replace('_', ' ')}", seconds, "s", found["files_s"][name])


def _kfp_overhead(found: dict[str, Any]) -> Iterator[Row]:
    for name, seconds in found["compile_seconds"].items():
        yield Row(f"compile {name}", seconds, "s")
    for runner in ("subprocess", "docker"):
        for key, seconds in found.get(runner, {}).items():
            yield Row(f"{runner}: {key.replace('_', ' ')}", seconds, "s")


def _evaluation(found: dict[str, Any]) -> Iterator[Row]:
    for name, one in found["protocols"].items():
        size = f"{one['queries']:,} queries, {one['images']:,} images"
        for other, words in (("before", "an older build"), ("published", "the published arrangement")):
            if other in one["cpu_s"]:
                seconds = one["cpu_s"]
                yield Row(f"{name}, {size}, against {words}", seconds["now"], "CPU s", before=seconds[other])
        if len(one["cpu_s"]) == 1:
            yield Row(f"{name}, {size}", one["cpu_s"]["now"], "CPU s")
        yield Row(f"{name}, peak memory", one["peak_mib"]["now"], "MiB")


def _serving(found: dict[str, Any]) -> Iterator[Row]:
    yield Row("until it answers", found["ready_seconds"], "s")
    yield Row("first answer", found["first_answer_seconds"], "s")
    yield Row("later answers, median", found["later_median_seconds"], "s")
    yield Row("later answers, 95 % are faster than", found["later_95_percent_seconds"], "s")
    yield Row(f"{found['clients']} clients at once", found["answers_per_second"], "answers a second")
    yield Row("memory at rest", found["idle_mib"], "MiB")
    yield Row("most memory, ordinary images", found["peak_mib"]["ordinary"], "MiB")
    yield Row(f"{found['large_requests']} JPEGs of 24 megapixels", found["peak_mib"]["with_large_jpegs"], "MiB")
    yield Row(f"{found['large_requests']} PNGs of 62 megapixels", found["peak_mib"]["with_refused_pngs"], "MiB")


def _labels(found: dict[str, Any]) -> Iterator[Row]:
    metrics = ("recall_at_10", "relevant_at_10", "wanted_share_at_10", "ndcg_at_10")
    none, *shares = found["shares"]
    for metric in metrics:
        yield Row(f"{metric}, no query corrected", none[metric]["value"], "%")
    for one in shares:
        further = [counts["further_right"] for counts in one["labelled"]]
        for metric in metrics:
            difference = one[f"{metric}_difference"]
            between = f"95 %: {difference['low']:+.1f} to {difference['high']:+.1f}"
            told = f"{100 * one['share']:.0f} % of the queries, {min(further)} to {max(further)} images found right"
            yield Row(f"{told}: {metric} ({between})", difference["value"], "points")


def _demo(found: dict[str, Any]) -> Iterator[Row]:
    yield Row("first run", found["whole_seconds"], "s")
    yield Row("second run, nothing to do", found["second_run_seconds"], "s", found["whole_seconds"])
    for number, pair in enumerate(found.get("pairs", []), 1):
        what = f"stages that are forked; before: that import all themselves; pair {number}"
        yield Row(what, pair["forked"], "s", pair["by_themselves"])


def _first_run(found: dict[str, Any]) -> Iterator[Row]:
    for name, (least, most) in found["ranges"].items():
        if name.endswith("recall_at_10"):
            yield Row(f"{name.split('/')[0]}: R@10, least of all runs", least, "%")
            yield Row(f"{name.split('/')[0]}: R@10, most", most, "%")


def _mutation(found: dict[str, Any]) -> Iterator[Row]:
    def row(what: str, modules: list[dict[str, Any]]) -> Row:
        survived, killed = (sum(one[kind] for one in modules) for kind in ("survived", "killed"))
        killed += sum(one["timed_out"] for one in modules)
        return Row(f"{what}: {killed} of {killed + survived}", 100 * killed / (killed + survived), "%")

    told = {name: one for name, one in found["modules"].items() if one["kill_rate"] is not None}
    yield row(f"all {len(told)} modules", list(told.values()))
    for name, one in told.items():
        yield row(f"`{name}`" + (", drawn anew" if one["seed"] else ""), [one])


SECTIONS = [
    Section("gpu", "One GPU", "Before: every operation launched by itself, small tiles ([more](gpu.md)).", _gpu),
    Section("mining", "Mining", "Before: the published loop over queries. Both find the same sets.", _mining),
    Section(
        "builds",
        "Mining on one core, against an older build",
        "Before: the library of the commit that the result names. Both give the same to the bit.",
        _builds,
    ),
    Section(
        "commands",
        "Commands, started anew, against an older build",
        "Before: the library of the commit that the result names. Both print the same.",
        _commands,
    ),
    Section(
        "training_step",
        "A training step",
        "Before: three passes of the frozen ViT a triplet, as published. Now: features from the cache.",
        _training_step,
    ),
    Section(
        "preparation",
        "Preparing an image",
        "One core, JPEG files. Before: the product's way. Resizing takes so much of it that no decoder halves it.",
        _preparation,
    ),
    Section("search", "A search", "Before: half-precision embeddings converted at every request.", _search),
    Section(
        "index",
        "An index instead of exact search",
        "Images x tokens x dimensions, synthetic. Before: exact search in fp32 ([more](large-galleries.md)).",
        _index,
    ),
    Section(
        "growth",
        "Growth from 1,000 images to a million",
        "On one thread, the images on disk in half precision.\n\n![Seconds and memory over images](images/growth.png)",
        _growth,
    ),
    Section(
        "evaluation",
        "Protocols at full size",
        "Real annotation files, synthetic embeddings, one core. Recall is the same to the last printed digit.",
        _evaluation,
    ),
    Section("validation", "Validation", "Before: the first run of the same data.", _validation),
    Section("dvc_shards", "DVC", "Before: a folder of image files. Now: the same images in tar shards.", _dvc_shards),
    Section("kfp_overhead", "Kubeflow's overhead", "What a pipeline costs beside its work.", _kfp_overhead),
    Section(
        "serving",
        "Serving",
        "`mlflow models serve`, one worker, the demo's model and gallery ([more](runbook.md)).",
        _serving,
    ),
    Section(
        "mutation",
        "Planted faults that the tests notice",
        "Modules that decide numbers, small faults of each drawn by chance and planted one at a time. Left out are "
        "those that nobody can tell from none, each with its reason in `benchmarks/equivalent_mutants.yaml`. Tests "
        "were mended after the first draw, which flatters them since; `drawn anew` are faults that nobody had seen.",
        _mutation,
    ),
    Section(
        "labels",
        "What corrected labels buy",
        "The catalogue's FashionIQ, three seeds; training queries corrected by a simulated person, and what that "
        "changes against a training without ([more](studio.md#correct)).",
        _labels,
    ),
    Section("demo", "The demo", "In a fresh clone. Before: the first run.", _demo),
    Section("first_run", "What the demo learns", "Over seeds and processors ([more](first-run.md)).", _first_run),
]
