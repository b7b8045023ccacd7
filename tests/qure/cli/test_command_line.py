"""The command line as a user meets it: a real process, its exit code and its one message."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
COMMANDS = (
    "catalogue", "validate", "backbone", "precompute", "train", "evaluate", "evaluate-embeddings",
    "register", "promote", "rollback", "report", "results", "search", "ablate", "data", "weights", "demo",
    "studio", "survey", "labels",
)  # fmt: skip


def qure(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qure.cli", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    shown = qure("--help", folder=tmp_path)
    assert shown.returncode == 0
    assert [command for command in COMMANDS if command not in shown.stdout] == []


def test_help_loads_no_heavy_library(tmp_path: Path) -> None:
    heavy = ["torch", "transformers", "mlflow", "great_expectations", "kfp", "pandas", "matplotlib", "pydantic"]
    script = f"import sys, qure.cli; print([name for name in {heavy!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("training: {fashioniq: {recipe: nowhere}, cirr: {recipe: catalogue}}", "no recipe 'nowhere'"),
        ("training: {fashioniq: {recipe: catalogue}}\nunknown: 1", "unknown"),
        ("training: {fashioniq: {recipe: catalogue, overrides: {epochs: 0}}}", "epochs"),
        ("training: [", "not valid YAML"),
        ("[]", "not a mapping"),
    ],
)
def test_wrong_settings_are_one_message_and_exit_2(tmp_path: Path, params: str, message: str) -> None:
    (tmp_path / "params.yaml").write_text(params)
    shown = qure("train", "--training-set", "fashioniq", folder=tmp_path)
    assert shown.returncode == 2
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


#: Each command that reads params.yaml, with what else it must be given.
STAGES = ("validate", "precompute", "train", "evaluate", "register", "promote", "rollback", "ablate")
OF_SETTINGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(STAGES, ("--training-set", "fashioniq")),
    "report": ("--training-set", "fashioniq", "--output", "new"),
    "backbone": (),
    "catalogue": ("--output", "new"),
    "data restore": (),
    "lineage": ("models:/qure-fashioniq@champion",),
    "reproduce": ("models:/qure-fashioniq@champion",),
    "results": (),
    "demo": (),
}


def test_wrong_settings_are_told_before_anything_large_is_imported(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("training: {fashioniq: {recipe: catalogue}}\nunknown: 1")
    (tmp_path / "dvc.yaml").touch()
    commands = [[*command.split(), *more] for command, more in OF_SETTINGS.items()]
    script = (
        "import sys\nfrom qure.cli import app\n"
        f"for command in {commands!r}:\n"
        "    try:\n        app(command)\n    except SystemExit as end:\n"
        "        print(command[0], end.code, [name for name in ('torch', 'mlflow', 'PIL') if name in sys.modules])\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert shown.stdout.splitlines() == [f"{command[0]} 2 []" for command in commands], shown.stderr
    assert shown.stderr.count("unknown") == len(commands)


def test_missing_settings_name_the_file(tmp_path: Path) -> None:
    shown = qure("train", "--training-set", "fashioniq", folder=tmp_path)
    assert shown.returncode == 2
    assert "params.yaml: the file does not exist" in shown.stderr


def test_unknown_training_set_names_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text())
    shown = qure("validate", "--training-set", "shoes", folder=tmp_path)
    assert shown.returncode == 2
    assert "no training set 'shoes'; there are cirr, fashioniq" in shown.stderr
