"""No secret survives in what is logged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qure.tracking.redaction import HIDDEN, holds_secret, is_secret, names_a_secret, redacted


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://qure:{secret}@db.example:5432/mlflow",
        "could not reach https://{secret}@mlflow.example/api now",
        "s3 said no: GET https://s3/b/k?X-Amz-Credential={secret}&X-Amz-Signature={secret}",
        "dsn host=db password={secret} user=qure",
        "Authorization: Bearer {secret}",
        "ran: mc alias set store --db-password {secret} --verbose",
        "alembic.ini: line 3: password = {secret}",
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


@pytest.mark.parametrize(
    "text",
    ["read it with --password-stdin twice", "max_tokens = 77", "set --token-file /run/token", "pad_token = b"],
)
def test_options_and_settings_about_secrets_stay(text: str) -> None:
    assert redacted(text, {}) == text


@given(st.text(min_size=8), st.text(), st.text())
def test_a_variable_with_a_secret_name_never_shows(secret: str, before: str, after: str) -> None:
    if not is_secret("SOME_TOKEN", secret):
        return
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


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCY",
    "AWS_ACCESS_KEY_ID": "an-access-key-of-nobody",
    "AWS_SESSION_TOKEN": "FwoGZXIvYXdzE",
    "MLFLOW_TRACKING_PASSWORD": "hunter2hunter2",
    "MLFLOW_TRACKING_TOKEN": "dG9rZW4tdmFsdWU",
    "PGPASSWORD": "correct horse battery",
    "password": "/" + "q7" * 200,  # no name of a file, which is at most 255 bytes long
    "MYSQL_PWD": "letmein-please",
    "DB_PASS": "letmein-please",
    "PWD": "hunter2hunter2",
    "HF_TOKEN": "a-token-of-nobody",
    "GITHUB_PAT": "a-token-of-nobody",
    "WANDB_API_KEY": "0123456789abcdef0123",
    "apiKey": "0123456789abcdef0123",
    "clientSecret": "0123456789abcdef0123",
    "storage.dbPassword": "0123456789abcdef0123",
    "accessToken": "0123456789abcdef0123",
    "SSH_PRIVATE_KEY": "not a real key at all",
    "COOKIE_SIGNING_KEY": "0123456789abcdef0123",
    "AZURE_STORAGE_ACCOUNT_KEY": "/Eby8vdM02xNOcqFlqUwJPLlmEtlCD==",
    "REDISCLI_AUTH": "letmein-please",
    "JWT": "letmein-please",
    "SESSION_COOKIE": "letmein-please",
    "STRIPE_KEY": "letmein-please",
    "FERNET_KEY": "letmein-please",
    "STORAGE_KEY": "letmein-please",
    "LICENSE_KEY": "letmein-please",
}
NO_SECRETS = {
    "PWD": "/usr",
    "OLDPWD": "/usr",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/token-of-nobody",
    "POSTGRES_PASSWORD_FILE": "/run/secrets/postgres",
    "DOCKER_CREDENTIALS_PATH": "/root/.docker/config.json",
    "MLFLOW_AUTH_CONFIG_PATH": "/etc/mlflow/auth.ini",
    "SSH_AUTH_SOCK": "/run/agent/listener",
    "TOKEN_URL": "https://login.example.com/oauth",
    "SECRET_NAME": "qure-tracking",
    "PASSWORD_POLICY": "at-least-twelve",
    "TOKENIZERS_PARALLELISM": "disabled",
    "tokenizer": "bert-base-uncased",
    "qformer.query_tokens": "32-of-them",
    "text_tokens": "thirty-five",
    "pad_token": "the-padding",
    "max_token": 77,
    "token_count": "seventy-seven",
    "first_pass": "of-two-passes",
    "run_key": "shard-of-four",
    "keyboard": "of-a-piano",
    "AUTHOR": "Somebody Else",
    "HISTORY_KEY": "seventy-seven",
    "use_password": True,
    "a_token": "True",
    "API_KEY": "none",
    "DB_PASSWORD": "",
    "DB_PASSWD": HIDDEN,
    "pwd": "/a/folder/that/is/gone",
    "GOOGLE_APPLICATION_CREDENTIALS": "/run/elsewhere/account.json",
    "AUTH_METHOD": "kerberos",
    "COOKIE_DOMAIN": "example.org",
    "SECRET_MOUNT": "kv-of-the-team",
    "SECRETS_MANAGER_ARN": "arn:aws:of-nobody",
    "token_embedding": "gaussian",
    "credential_helper": "osxkeychain",
}


@pytest.mark.parametrize(("name", "value"), SECRETS.items())
def test_what_is_a_secret_does_not_show(name: str, value: str) -> None:
    assert is_secret(name, value)
    assert value not in redacted(f"refused: {value}.", {name: value})


@pytest.mark.parametrize(("name", "value"), NO_SECRETS.items())
def test_what_is_none_is_not_hidden(name: str, value: object) -> None:
    assert not is_secret(name, value)
    assert redacted(f"it was {value}.", {name: str(value)}) == f"it was {value}."


def test_both_kinds_have_twenty_names() -> None:
    assert min(len(SECRETS), len(NO_SECRETS)) >= 20


@pytest.mark.parametrize(
    "address",
    [
        "https://a-token-of-nobody@git.example.com/qure.git",
        "https://x-access-token:a-token@git.example.com/qure.git",
        "http://user:pw@host/path",
        "postgresql://qure:pw@db/mlflow",
        "ssh://a1B2c3D4e5F6g7H8i9J0@git.example.com/qure.git",
        "https://host/data?access_token=abc",
        "https://host/data?x=1&sig=0f3a",
        "s3://bucket/key?X-Amz-Credential=abc&X-Amz-Signature=0f3a",
        "https://host/callback#access_token=abc",
        "https://host/ghp_0123456789abcdefghij0123456789abcdef/qure.git",
        "https://hooks.slack.com/services/T000/B000/XXXX",
        "Server=db;User=qure;Password=pw",
        "git+https://a-token-of-nobody@git.example.com/qure.git",
        "https://host/data?pwd=abc",
        "https://host/data?pass=abc",
        "https://host/data?jwt=abc",
        "https://host/data?key=a1B2c3D4e5F6g7H8i9J0",
        "https://host/callback?code=a1b2c3d4e5f6a7b8c9d0",
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abcd==;EndpointSuffix=core.windows.net",
        "https://discordapp.com/api/webhooks/1/abc",
        "https://example.webhook.office.com/webhookb2/abc",
        "https://api.telegram.org/bot1:abc/sendMessage",
        "npm_0123456789abcdefghij0123456789abcdef",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
    ],
)
def test_addresses_that_hold_secrets(address: str) -> None:
    assert holds_secret(address)
    assert not holds_secret(redacted(address, {})) or redacted(redacted(address, {}), {}) == redacted(address, {})


@pytest.mark.parametrize(
    "address",
    [
        "https://git.example.com/qure.git",
        "ssh://git@git.example.com/qure.git",
        "git@git.example.com:group/qure.git",
        "postgresql://qure@db:5432/mlflow",
        "s3://bucket/data?versionId=3",
        "https://host/search?q=a+red+dress&page=2",
        "registry.example.com/qure@sha256:0123456789abcdef",
        "models:/qure-fashioniq@champion",
        "mail me@example.org, recall@10, pad_token=0, max_token=77",
        "sqlite:///mlflow.db",
        "https://host/search?key=colour&code=200&pass_through=1",
        "wasbs://container@account.blob.core.windows.net/data",
        "git+ssh://git@git.example.com/qure.git",
    ],
)
def test_addresses_that_hold_none_stay(address: str) -> None:
    assert not holds_secret(address)
    assert redacted(address, {}) == address


@pytest.mark.timeout(20)  # it took minutes: every place in a word was tried as its beginning
@pytest.mark.parametrize("piece", ["a-", "token.", "a+b", "--", "x@", "p:"])
def test_a_long_text_is_looked_through_at_once(piece: str) -> None:
    text = piece * 20_000
    assert redacted(text, {}) == text


@pytest.mark.parametrize(
    ("word", "hidden"),
    [
        ("a1" * 10, True),
        ("a1" * 9 + "a", False),  # short
        ("a" * 20, False),  # of one kind of character
        ("1" * 40, False),
        ("A" * 19 + "b", True),
        ("A" * 19 + "7", True),
        ("a-_" * 10, False),
    ],
)
def test_a_value_looks_drawn_by_a_machine_when_it_is_long_and_mixed(word: str, hidden: bool) -> None:
    assert (redacted(f"GET https://host/x?key={word}&page=2", {}) == "GET https://host/x?key=***&page=2") == hidden
    assert (redacted(f"ssh://{word}@host/x", {}) == "ssh://***@host/x") == hidden


def test_short_values_of_secret_variables_are_ordinary_words() -> None:
    environment = {"A_PASSWORD": "seven77", "B_PASSWORD": "eight888"}
    assert redacted("seven77 eight888", environment) == "seven77 ***"


def test_who_is_asked_over_the_web_is_a_token_and_elsewhere_a_user() -> None:
    assert redacted("git+https://abc@host/x", {}) == "git+https://***@host/x"
    assert redacted("HTTPS://abc@host/x", {}) == "HTTPS://***@host/x"
    assert redacted("ftp://abc@host/x", {}) == "ftp://abc@host/x"
    assert redacted("ftp://abc:@host/x", {}) == "ftp://***@host/x"
    assert redacted("https://@host/x", {}) == "https://@host/x"
