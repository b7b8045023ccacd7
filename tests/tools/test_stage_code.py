"""dvc.yaml names the code that each stage runs: no more, no less, read from the imports."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tools.stage_code import ROOT, Code, current, difference

TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"


@pytest.fixture(scope="module")
def code() -> Code:
    return Code()


def test_dvc_yaml_is_current(code: Code) -> None:
    before = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    changes = "".join(difference(before, current(before, code)))
    assert not changes, f"`make deps` makes this change:\n{changes}"


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("qure/datasets/truth.py", {"train", "evaluate", "register", "promote"}),
        ("qure/config", {"validate", "backbone", "precompute", "train", "evaluate", "register", "promote"}),
        ("qure/registry/promotion.py", {"register", "promote"}),
        ("qure/serving/packaged.py", {"register", "promote"}),  # named as a file, never imported
        ("qure/evaluation/report/templates/report.html.j2", {"evaluate", "register", "promote"}),
        ("qure/training/losses.py", {"train"}),
    ],
)
def test_every_stage_that_runs_a_file_follows_it(file: str, stages: set[str]) -> None:
    assert {stage for stage, paths in _followed().items() if _covers(paths, file)} >= stages


@pytest.mark.parametrize(
    "file", ["qure/cli.py", "qure/cli/stages.py", "qure/ablation/stage.py", "qure/catalogue/stage.py"]
)
def test_what_no_stage_runs_reruns_nothing(file: str) -> None:
    assert [stage for stage, paths in _followed().items() if _covers(paths, file)] == []


def test_training_does_not_follow_other_stages() -> None:
    train = _followed()["train"]
    others = (
        "evaluation/report.py",
        "registry/promotion.py",
        "validation/suites.py",
        "backbone/stage.py",
        "models/lavis.py",
    )
    assert [other for other in others if _covers(train, f"qure/{other}")] == []


def _followed() -> Mapping[str, list[str]]:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {
        name: [path for path in stage.get("do", stage)["deps"] if path.startswith("qure/")]
        for name, stage in stages.items()
    }


def _covers(paths: list[str], file: str) -> bool:
    return any(file == path or file.startswith(f"{path}/") for path in paths)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A package with every way in which one file comes to need another."""
    files = {
        "__init__.py": "",
        "cli.py": "def work():\n    from qure.stage import run\n    run()\ndef other():\n    import qure.unused\n",
        "stage.py": f"{TYPES}    import qure.types\nfrom qure.lazy import Thing\n",
        "lazy/__init__.py": f"{TYPES}    from qure.lazy.thing import Thing\n",
        "lazy/thing.py": "def f():\n    from qure import inner\n    return open('table.csv')\n",
        "lazy/other.py": "",
        "lazy/more.py": "",
        "lazy/table.csv": "",
        "inner.py": "",
        "types.py": "",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / "qure" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "qure" / name).write_text(text)
    return tmp_path


def test_imports_are_followed_wherever_they_stand(library: Path) -> None:
    lazy = ["qure/lazy/__init__.py", "qure/lazy/table.csv", "qure/lazy/thing.py"]
    assert Code(library).lines("work") == ["qure/__init__.py", "qure/inner.py", *lazy, "qure/stage.py"]


def test_a_folder_of_which_most_runs_is_named_whole(library: Path) -> None:
    (library / "qure" / "lazy" / "more.py").unlink()
    assert "qure/lazy" in Code(library).lines("work")


def test_lines_are_put_in_and_taken_out_and_all_else_stays(library: Path) -> None:
    text = "# note\nstages:\n  one:\n    cmd: qure work\n    deps:\n      - qure/gone.py\n      - data  # mine\n"
    code = Code(library)
    wanted = "".join(f"      - {path}\n" for path in code.lines("work"))
    assert current(text, code) == text.replace("      - qure/gone.py\n", wanted)


def test_a_command_without_a_function_is_an_error(library: Path) -> None:
    with pytest.raises(ValueError, match="no function of that name"):
        Code(library).lines("play")


def test_a_stage_follows_only_what_it_asks_benchmarks_for():
    """An edited protocol judges again and trains nothing again."""
    code = Code()
    judged = {f"qure/benchmarks/{one}/protocol.py" for one in ("fashioniq", "hp_fashioniq", "cirr", "circo")}
    for command in ("backbone", "precompute", "train", "validate"):
        assert not judged & code.of_command(command), command
        assert "qure/benchmarks/fashioniq/files.py" in code.of_command(command)
    for command in ("evaluate", "promote"):
        assert judged <= code.of_command(command), command
    assert "qure/benchmarks/cirr/suites.py" in code.of_command("validate")
