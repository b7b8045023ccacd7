"""What every component does around its library call."""

import logging
import os
import subprocess
import sys

import pytest

from components.runtime import UNEXPECTED, put_secrets_in_place, stage
from components.settings import parse
from qure.errors import BadInput, StageFailed

PARAMS = "training:\n  fashioniq: {recipe: catalogue}\n"


def test_settings_come_from_the_argument() -> None:
    with stage(PARAMS + "catalogue: {seed: 3}\n") as settings:
        assert settings.catalogue.seed == 3


@pytest.mark.parametrize(
    ("error", "code"), [(BadInput("the row is bad", file="x.json"), 2), (StageFailed("no"), 1), (ValueError("bug"), 1)]
)
def test_errors_become_exit_codes(error: Exception, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, stage(PARAMS):
        raise error
    assert stop.value.code == code
    assert str(error) in capsys.readouterr().err


def test_a_mistake_of_the_user_has_no_traceback_and_a_bug_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), stage(PARAMS):
        raise BadInput("mistake")
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(SystemExit), stage(PARAMS):
        raise KeyError("bug")
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["training: [", "[]", "training: {}\nnothing: 1\n"])
def test_a_wrong_argument_is_named(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, stage(text):
        pass
    assert stop.value.code == 2
    assert "params" in capsys.readouterr().err


def test_secrets_of_the_environment_are_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sentinel-aws-secret")
    with pytest.raises(SystemExit), stage(PARAMS):
        raise RuntimeError("PUT with sentinel-aws-secret to postgresql://user:sentinel-password@db/x refused")
    said = "".join(capsys.readouterr())
    assert "refused" in said
    assert "sentinel" not in said


def test_the_log_is_ours_and_says_how_long_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    import mlflow  # noqa: F401 - imported, it gives its loggers a handler and a level of their own

    with stage(PARAMS):
        logging.getLogger("great_expectations.core").info("registered something")
        logging.getLogger("mlflow.store").info("creating tables")
        logging.getLogger("mlflow").warning("slow")
        logging.getLogger("qure.training").info("epoch 1")
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["WARNING mlflow: slow", "INFO qure.training: epoch 1"]
    assert said[2].startswith("INFO components.runtime: done in ")
    assert len(said) == 3


def test_mlflow_imported_in_a_stage_speaks_in_the_stages_log() -> None:
    script = """
import logging
from pathlib import Path
from components.runtime import stage
with stage(Path("params.yaml").read_text()):
    import mlflow
    logging.getLogger("mlflow.store").info("creating tables")
    logging.getLogger("mlflow.store").warning("slow")
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "WARNING mlflow.store: slow"
    assert "creating tables" not in done.stdout + done.stderr


@pytest.mark.parametrize("error", [BadInput("no row", remedy="Mend it"), KeyError("bug")])
def test_the_last_line_of_a_failure_is_the_error_and_its_remedy(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), stage(PARAMS):
        raise error
    said = capsys.readouterr()
    last = said.err.splitlines()[-1]
    assert last in ("error: no row. Mend it", f"error: KeyError: 'bug'. {UNEXPECTED}")
    assert "done in" not in said.out


def test_our_variables_win_and_the_plugins_serve_where_ours_are_not() -> None:
    plugin = {
        "MLFLOW_TRACKING_URI": "https://theirs",
        "MLFLOW_TRACKING_TOKEN": "their-token",
        "MLFLOW_RUN_ID": "7",
        "MLFLOW_EXPERIMENT_ID": "1",
    }
    alone = dict(plugin) | {"QURE_SECRET_MLFLOW_TRACKING_URI": ""}
    put_secrets_in_place(alone)
    aside = {"QURE_KUBEFLOW_MLFLOW_RUN": "7", "QURE_KUBEFLOW_MLFLOW_URI": "https://theirs"}
    kept = {"MLFLOW_TRACKING_URI": "https://theirs", "MLFLOW_TRACKING_TOKEN": "their-token"}
    assert alone == kept | aside | {"MLFLOW_EXPERIMENT_ID": "1"}
    both = dict(plugin) | {
        "QURE_SECRET_MLFLOW_TRACKING_URI": "https://ours",
        "QURE_SECRET_MLFLOW_TRACKING_USERNAME": "us",
        "QURE_SECRET_AWS_ACCESS_KEY_ID": "key",
    }
    put_secrets_in_place(both)
    ours = {"MLFLOW_TRACKING_URI": "https://ours", "MLFLOW_TRACKING_USERNAME": "us", "AWS_ACCESS_KEY_ID": "key"}
    assert both == ours | aside | {"MLFLOW_EXPERIMENT_ID": "1"}


def test_one_server_for_both_keeps_the_plugins_login() -> None:
    variables = {
        "MLFLOW_TRACKING_URI": "https://one",
        "MLFLOW_TRACKING_TOKEN": "token",
        "QURE_SECRET_MLFLOW_TRACKING_URI": "https://one",
    }
    put_secrets_in_place(variables)
    assert variables == {"MLFLOW_TRACKING_URI": "https://one", "MLFLOW_TRACKING_TOKEN": "token"}


def test_a_stage_finds_its_variables_in_place_and_prints_none_of_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "")  # so that the test's end restores it
    monkeypatch.setenv("QURE_SECRET_AWS_SECRET_ACCESS_KEY", "sentinel-aws-secret")
    with pytest.raises(SystemExit), stage(PARAMS):
        raise RuntimeError(f"{os.environ['AWS_SECRET_ACCESS_KEY']} is refused")
    said = "".join(capsys.readouterr())
    assert "*** is refused" in said
    assert "sentinel" not in said


def test_components_are_light_to_import() -> None:
    heavy = "torch, transformers, mlflow, great_expectations, dvc, matplotlib"
    script = (
        "import sys, components.train_qure.component, components.prepare_data.component, components.runtime\n"
        f"sys.exit(', '.join(sorted(set('{heavy}'.split(', ')) & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_parse_names_the_field() -> None:
    with pytest.raises(BadInput, match=r"catalogue\.seed"):
        parse("training: {}\ncatalogue: {seed: x}\n")
