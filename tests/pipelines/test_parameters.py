"""A pipeline run's arguments: what lies in files of this machine travels in them."""

import json
from pathlib import Path

import pytest
import torch

from components.settings import parse
from pipelines.config import PipelineConfig
from pipelines.parameters import public_params, run_parameters
from qure.config import Settings
from qure.errors import BadInput
from qure.negatives.mining import negatives_from_scores


@pytest.mark.parametrize("recipe", ["catalogue", "mine.yaml"])
def test_the_file_of_a_strategy_travels_with_the_settings(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("epochs: 3\n")
    (tmp_path / "own.py").write_text(
        "def next_one(ranking):\n    return ranking.ranks == ranking.target_ranks[:, None] + 1\n"
    )
    params = tmp_path / "params.yaml"
    params.write_text(
        f"training: {{fashioniq: {{recipe: {recipe}, overrides: {{negatives: {{strategy: 'own.py:next_one'}}}}}}}}\n"
    )
    argument = public_params(Settings.load(params), params)
    (tmp_path / "own.py").unlink()
    (tmp_path / "pod").mkdir()
    monkeypatch.chdir(tmp_path / "pod")
    negatives = parse(argument).training_for("fashioniq").negatives
    hard, _ = negatives_from_scores(torch.tensor([[0.9, 0.8, 0.1]]), torch.tensor([0]), negatives)
    assert hard.of(0).tolist() == [1]
    # As a train job's pods read it: from a file.
    (tmp_path / "pod" / "params.yaml").write_text(argument)
    assert Settings.load(Path("params.yaml")).training_for("fashioniq").negatives == negatives


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tracking.uri", "https://a-token-of-nobody@mlflow.example.com"),
        ("tracking.uri", "https://user:pw@mlflow.example.com"),
        ("tracking.uri", "https://mlflow.example.com/?access_token=abc"),
        ("tracking.artifacts", "s3://bucket/mlflow?X-Amz-Credential=abc&X-Amz-Signature=0f3a"),
        ("backbone.weights", "hf_0123456789abcdefghijABCDEFGHIJ"),
    ],
)
def test_a_secret_in_any_form_is_refused_by_its_field(tmp_path: Path, field: str, value: str) -> None:
    params = tmp_path / "params.yaml"
    group, name = field.split(".")
    params.write_text(f"training: {{fashioniq: {{recipe: catalogue}}}}\n{group}: {{{name}: '{value}'}}\n")
    with pytest.raises(BadInput, match=r"a password or a token") as refusal:
        public_params(Settings.load(params), params)
    assert refusal.value.field == field
    assert value not in str(refusal.value)


def test_addresses_without_secrets_travel_but_where_mlflow_is_stays_with_the_environment(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(
        "training: {fashioniq: {recipe: catalogue}}\n"
        "tracking: {uri: 'postgresql://qure@db/mlflow', artifacts: 's3://bucket/mlflow'}\n"
    )
    assert json.loads(public_params(Settings.load(params), params))["tracking"] == {"artifacts": "s3://bucket/mlflow"}


@pytest.mark.parametrize(("training_set", "accepted"), [("fashioniq", True), ("cirr", False)])
def test_more_shares_than_a_run_can_hold_are_refused_before_it_is_submitted(
    tmp_path: Path, training_set: str, accepted: bool
) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("training: {fashioniq: {recipe: catalogue}, cirr: {recipe: catalogue}}\n")
    config = PipelineConfig.load().model_copy(update={"shards": 128})
    if accepted:
        assert run_parameters(config, params, training_set)["shards"] == 128
        return
    with pytest.raises(BadInput, match="at most 128 shares"):
        run_parameters(config, params, training_set)
