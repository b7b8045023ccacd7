"""Which benchmarks there are: those that come with qure, then those of installed packages.

A package adds one by an entry point of the group `GROUP`, whose value names a `Benchmark` object::

    [project.entry-points."qure.benchmarks"]
    shoes = "my_package.shoes:BENCHMARK"

Benchmarks are found by name and not by import: they stand on the readers, protocols and suites that ask for them.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from qure.benchmarks.base import Benchmark
from qure.errors import BadInput

#: Folders of this package, in the order of reports: a training set's own benchmark before the others it is judged on.
OWN = ("fashioniq", "hp_fashioniq", "cirr", "circo")
GROUP = "qure.benchmarks"


def get_benchmark(name: str) -> Benchmark:
    """A benchmark by its name.

    Raises:
        BadInput: there is none of that name; says which there are.
    """
    if name not in _by_name():
        raise BadInput(f"no benchmark {name!r}", remedy=f"Benchmarks are {', '.join(_by_name())}")
    return _by_name()[name]


def benchmarks() -> tuple[Benchmark, ...]:
    """All benchmarks.

    >>> [one.name for one in benchmarks()][:4]
    ['fashioniq', 'hp-fashioniq', 'cirr', 'circo']
    """
    return tuple(_by_name().values())


def training_sets() -> tuple[str, ...]:
    """Names of the benchmarks that models are trained on.

    >>> training_sets()[:2]
    ('fashioniq', 'cirr')
    """
    return tuple(one.name for one in benchmarks() if one.compared_by is not None)


def judged_on(training_set: str) -> tuple[str, ...]:
    """Names of the benchmarks that judge the model trained on a training set, the one of its name first.

    Raises:
        BadInput: no such training set.

    >>> judged_on("cirr")[:2]
    ('cirr', 'circo')
    """
    if training_set not in training_sets():
        raise BadInput(f"no training set {training_set!r}", remedy=f"Training sets are {', '.join(training_sets())}")
    others = (one.name for one in benchmarks() if one.judges == training_set != one.name)
    return (training_set, *others)


def image_sets() -> tuple[str, ...]:
    """Names of the benchmarks that have images of their own, sorted: an image set is named like its benchmark.

    >>> set(image_sets()) >= {"circo", "cirr", "fashioniq"}
    True
    """
    return tuple(sorted({one.images for one in benchmarks()}))


def image_sets_of(training_set: str) -> list[str]:
    """Image sets that a training set and its benchmarks use, its own first.

    >>> image_sets_of("fashioniq")[0], image_sets_of("cirr")[:2]
    ('fashioniq', ['cirr', 'circo'])
    """
    return list(dict.fromkeys(get_benchmark(name).images for name in judged_on(training_set)))


def sharing_images(image_set: str) -> list[str]:
    """Names of the benchmarks that use an image set's files.

    >>> sharing_images("fashioniq")[:2]
    ['fashioniq', 'hp-fashioniq']
    """
    return [one.name for one in benchmarks() if one.images == image_set]


@cache
def _by_name() -> dict[str, Benchmark]:
    own: list[Benchmark] = [import_module(f"{__package__}.{folder}").BENCHMARK for folder in OWN]
    found: dict[str, Benchmark] = {}
    for one in (*own, *(entry.load() for entry in entry_points(group=GROUP))):
        if not isinstance(one, Benchmark):
            raise BadInput(f"{one!r} is no Benchmark", field=GROUP, remedy="Let the entry point name the object")
        taken = next((other for other in found.values() if one.name == other.name or one.folder == other.folder), None)
        if taken is not None:
            raise BadInput(f"benchmark {one.name!r} has the name or the folder of {taken.name!r}", field=GROUP)
        found[one.name] = one
    for one in found.values():
        for name in (one.images, one.judges):
            if name not in found:
                raise BadInput(f"benchmark {one.name!r} names {name!r}, which is none", field=GROUP)
    return found
