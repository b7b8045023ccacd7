"""What Great Expectations imports and validation never calls waits until somebody asks for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from qure.validation.lazy import NOT_NEEDED, SELDOM_USED, as_if_not_installed, load_when_used

MODULE = """
LOADED.append(__name__)
answer = 42
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package that says which of its modules have been loaded."""
    import builtins

    (tmp_path / "seldom").mkdir()
    for name in ("__init__", "part"):
        (tmp_path / "seldom" / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    loaded: list[str] = []
    monkeypatch.setattr(builtins, "LOADED", loaded, raising=False)
    for name in ("seldom", "seldom.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return loaded


def test_an_import_is_a_promise_until_an_attribute_is_asked_for(package: list[str]) -> None:
    load_when_used("seldom")
    import seldom  # type: ignore[import-not-found]

    assert package == []
    assert seldom.answer == 42
    assert package == ["seldom"]
    import seldom as again

    assert (again.answer, seldom.answer) == (42, 42)
    assert again.__file__.endswith("__init__.py")
    assert package == ["seldom"], "once"
    with pytest.raises(AttributeError, match="nothing"):
        _ = seldom.nothing


def test_a_module_of_a_promised_package_can_be_imported(package: list[str]) -> None:
    load_when_used("seldom")
    from seldom.part import answer  # type: ignore[import-not-found]

    assert answer == 42
    assert package == ["seldom", "seldom.part"]


def test_what_is_loaded_already_and_what_is_not_there_stay_as_they_are(package: list[str]) -> None:
    import seldom

    load_when_used("seldom")
    assert sys.modules["seldom"] is seldom
    for missing in ("no_such_package", "no_such_package.part"):
        load_when_used(missing)
        assert missing not in sys.modules


def test_what_is_hidden_is_there_again_afterwards(package: list[str]) -> None:
    with as_if_not_installed(("seldom", "sys")):
        with pytest.raises(ImportError):
            import seldom
        with pytest.raises(ImportError):
            from seldom.part import answer
        import sys as kept  # imported before
    assert kept is sys
    import seldom
    from seldom.part import answer

    assert seldom.answer == answer == 42


def test_great_expectations_validates_without_them(tmp_path: Path) -> None:
    """In a process of its own, as validation starts: none of them has been loaded when a table has been checked."""
    program = (
        "import sys\n"
        "from qure.validation import lazy\n"
        "lazy.prepare()\n"
        "import pandas as pd\n"
        "from qure.validation.run import run_suites\n"
        "from qure.validation.shared import expect\n"
        "from qure.validation.suites import Suite\n"
        "import great_expectations.expectations as gxe\n"
        "rules = [expect('schema', 'a', gxe.ExpectColumnValuesToNotBeNull, column='a')]\n"
        "(found,) = run_suites([Suite('x.y', pd.DataFrame({'a': [1, None]}), rules)])\n"
        "print([one['success'] for one in found.expectations])\n"
        f"print([name for name in {SELDOM_USED} if getattr(sys.modules[name], '__spec__', None)])\n"
        f"print([name for name in {NOT_NEEDED} if name in sys.modules])\n"
        "import sqlalchemy, mlflow.store.tracking.sqlalchemy_store\n"
        "print(sqlalchemy.select(1))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[False]", "[]", "[]", "SELECT 1"]
