"""No secret survives in what is logged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qure.tracking.redaction import names_a_secret, redacted


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://qure:{secret}@db.example:5432/mlflow",
        "could not reach https://{secret}@mlflow.example/api now",
        "s3 said no: GET https://s3/b/k?X-Amz-Credential={secret}&X-Amz-Signature={secret}",
        "dsn host=db password={secret} user=qure",
        "Authorization: Bearer {secret}",
        "'mysql://u:{secret}@host/db'",
    ],
)
@pytest.mark.parametrize("secret", ["hunter2hunter2", "p@ss/w0rd!x", "dG9rZW4tdmFsdWU"])
def test_known_shapes_of_credentials(text: str, secret: str) -> None:
    if "Bearer" in text and "@" in secret:
        pytest.skip("a bearer token has no such characters")
    assert secret not in redacted(text.format(secret=secret), {})


def test_the_rest_of_a_message_stays() -> None:
    text = redacted(
        "MLflow at postgresql://qure:pw@db:5432/mlflow: relation 'runs' does not exist, see http://docs/x", {}
    )
    assert text == "MLflow at postgresql://***@db:5432/mlflow: relation 'runs' does not exist, see http://docs/x"
    assert redacted("recall@10 of 3.5 at epoch 2, mail me@example.org", {}) == (
        "recall@10 of 3.5 at epoch 2, mail me@example.org"
    )


@given(st.text(min_size=8), st.text(), st.text())
def test_a_variable_with_a_secret_name_never_shows(secret: str, before: str, after: str) -> None:
    found = redacted(before + secret + after, {"SOME_TOKEN": secret})
    assert secret not in found.replace("***", "") or secret in (before + after)


def test_the_longer_of_two_overlapping_secrets_goes_whole() -> None:
    environment = {"A_PASSWORD": "abcdefgh", "B_PASSWORD": "abcdefgh-and-more"}
    assert redacted("x abcdefgh-and-more y", environment) == "x *** y"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("AWS_SECRET_ACCESS_KEY", True),
        ("AWS_ACCESS_KEY_ID", True),
        ("MLFLOW_TRACKING_PASSWORD", True),
        ("github.token", True),
        ("api-key", True),
        ("qformer.query_tokens", False),
        ("tokenizer", False),
        ("run_key", False),
        ("keyboard", False),
    ],
)
def test_names(name: str, secret: bool) -> None:
    assert names_a_secret(name) is secret
