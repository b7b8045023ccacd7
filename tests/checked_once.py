"""Great Expectations asked once in a process: a table that was checked before, to the value, is not checked again.

Most tests of validation damage one table of a dozen, and each table costs a tenth of a second whatever it holds. What
is found of a table follows from its values and expectations alone, which is what the answers are kept by.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

#: Tables of more rows are checked each time: writing their values down takes as long.
MOST_ROWS = 2_000

Results = dict[str, Any]


def keep_results(patch: pytest.MonkeyPatch) -> Results:
    """Puts memories in place of `run_suites` and `suite_page`; what is returned is the memory, to be cleared."""
    from qure.validation import docs, run

    check, draw = run.run_suites, docs.suite_page
    results: Results = {}
    pages: dict[int, tuple[Any, str]] = {}

    def run_suites(suites: Sequence[Any]) -> list[Any]:
        keys = {suite.name: _key(suite) for suite in suites if 0 < len(suite.table) <= MOST_ROWS}
        asked = [suite for suite in suites if keys.get(suite.name) not in results]
        found = {one.name: one for one in (check(asked) if asked else [])}
        results.update({keys[name]: one for name, one in found.items() if name in keys})
        ordered = [found.get(suite.name) or results.get(keys.get(suite.name, "")) for suite in suites]
        return [one for one in ordered if one is not None]

    def suite_page(suite: Any, view: Any) -> str:
        if id(suite) not in pages:
            pages[id(suite)] = suite, draw(suite, view)  # with the suite, so that no other one gets its id
        return pages[id(suite)][1]

    patch.setattr(run, "run_suites", run_suites)
    patch.setattr(docs, "suite_page", suite_page)
    return results


def _key(suite: Any) -> str:
    from qure.validation.expectations import IMAGE_LISTS

    lists = IMAGE_LISTS.get(suite.name.partition(".")[0], {})
    values: tuple[Any, ...] = (
        suite.name,
        [(name, str(kind)) for name, kind in suite.table.dtypes.items()],
        list(suite.table.index),
        [list(suite.table[name]) for name in suite.table.columns],
        [(type(one).__qualname__, one.dict()) for one in suite.expectations],
        [(name, sorted(map(repr, images))) for name, images in sorted(lists.items(), key=repr)],
    )
    return hashlib.sha256(repr(values).encode("utf-8", "surrogatepass")).hexdigest()
