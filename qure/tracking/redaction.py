"""Secrets out of everything that is logged, shown or stored.

What is a secret is decided by three things: where it stands (userinfo and query of an address, after `password=`), what
its value looks like (tokens of known services, keys, JSON web tokens), and what the variable or parameter that holds it
is called. A name alone decides nothing: `PWD` names a folder, `pad_token` a word, `token_count` a number.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HIDDEN = "***"


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


#: Each begins where a word begins, or is bounded: a long text of words and hyphens must not take minutes.
#: user:password@ or token@ of a URI; also where the password itself holds an @ or a slash.
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]{0,40})://(?P<user>[^\s/'\"]*:[^\s'\"]*|[^\s/'\"]*)@")
#: user:password@host without a scheme, as database tools take it; a digest, image:tag@sha256:..., has no host.
_BARE_USERINFO = re.compile(r"(?<![\w.%+/@:-])[\w.%+-]+:[^\s/'\"@:]+@(?=(?:localhost|[\w-]+(?:\.[\w-]+)+)(?![\w@]))")
#: ?X-Amz-Signature=..., &password=... of a URI or a connection string; "password": "..." of JSON and YAML.
_NAMED = (
    r"[\w.-]*(?:signature|credentials?|security[-_]token|password|passwd|passphrase|passcode|pwd|pass|secret|token|jwt|"
    r"(?:api|access|account|private|signing|shared)[-_]?key|auth|sig)"
)
#: ?key=AIza..., ?code=... of an address: with a value that a machine has drawn.
_DRAWN = re.compile(r"(?P<name>[?&;#](?:key|code)=)(?P<value>[^&;\s'\"#]+)", re.IGNORECASE)
_PARAMETERS = re.compile(rf"(?P<name>(?:[?&;\s#]|^){_NAMED}=)[^&;\s'\"#]+", re.IGNORECASE)
#: --password ... of a command line, password = ... of a settings file: blanks stand between name and value.
_APART = re.compile(
    rf"(?P<name>(?:(?:^|\s)--?{_NAMED}\s+|(?<![\w.-]){_NAMED}\s+=\s*))[^\s'\"=-][^\s'\"]*", re.IGNORECASE
)
_QUOTED = re.compile(rf"(?P<name>['\"]{_NAMED}['\"]\s*:\s*['\"])[^'\"]+", re.IGNORECASE)
#: In an address these are what lets a stranger in.
_SIGNATURE = re.compile(r"signature|(?:^|[-_.])sig$", re.IGNORECASE)
_AUTHORIZATION = re.compile(r"(?P<name>\b(?:Bearer|Basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
#: Values that say by themselves what they are.
_TOKENS = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}|xox[abeprs]-[\w-]{10,}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{16,}|glsa_\w{30,}|hv[sb]\.[\w-]{20,}"
    r"|dapi[0-9a-f]{32}"
    r"|sk-[A-Za-z0-9_-]{20,}|A(?:KI|SI)A[A-Z0-9]{16}|AIza[\w-]{30,}|ya29\.[\w-]{20,}|dop_v1_[0-9a-f]{32,}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*)"
)
#: Addresses whose path is the secret: whoever has it can post.
_WEBHOOKS = re.compile(
    r"(?P<host>https://(?:hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/"
    r"|[\w.-]+\.webhook\.office\.com/webhookb2/|api\.telegram\.org/bot))[^\s'\"]+"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = _words(
    "secret secrets password passwords passwd pwd passphrase passcode pass pw token jwt bearer authorization auth",
    "cookie credential credentials apikey accesskey secretkey privatekey pat sas",
)
_KINDS_OF_KEY = _words(
    "api access private secret signing encryption account master shared session ssh auth storage deploy license hmac",
    "fernet tls ssl service webhook stripe openai anthropic kaggle wandb",
)
#: A name that ends so is about a secret, and holds none.
_ABOUT = _words(
    "file path dir directory folder name type kind length size count limit expiry expires ttl url uri endpoint host",
    "port enabled required days hours seconds minutes version provider user username format header policy rotation",
    "sock socket method mode domain mount command helper manager arn embedding embeddings config disabled",
)
#: A token of a text, not of a service.
_TEXT = _words("pad eos bos cls sep mask unk special next first last max min num per query image")
#: A path that names a file, also one that is not here; keys in base64 have slashes, but no such ending.
_FILE = re.compile(r"^[/.~][\w./~-]*/[\w.-]+\.(?:json|pem|key|crt|ya?ml|toml|ini|cfg|conf|txt)$")
#: Shorter values of secret-looking variables are too likely to be ordinary words.
_SHORTEST_SECRET = 8


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without secrets: in addresses, in query parameters, of known shapes, and the values of secret variables.

    Args:
        text: anything that is about to be logged.
        environment: variables whose values must not appear; the process's own when left out.

    >>> redacted("postgresql://qure:p@ss@db:5432/mlflow is down")
    'postgresql://***@db:5432/mlflow is down'
    >>> redacted("GET /b/k?X-Amz-Signature=0f3a&x=1", {})
    'GET /b/k?X-Amz-Signature=***&x=1'
    >>> redacted("key hunter2hunter2 refused", {"DB_PASSWORD": "hunter2hunter2"})
    'key *** refused'
    >>> redacted("mlflow:s3cret@db.example.com:5432 is down; git@host.example:qure.git, qure:1.2@sha256:0f", {})
    '***@db.example.com:5432 is down; git@host.example:qure.git, qure:1.2@sha256:0f'
    >>> redacted("ssh://git@host/qure.git", {})
    'ssh://git@host/qure.git'
    """
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, HIDDEN)
    text = _PRIVATE_KEY.sub(HIDDEN, text)
    text = _USERINFO.sub(_without_userinfo, text)
    text = _BARE_USERINFO.sub(f"{HIDDEN}@", text)
    text = _WEBHOOKS.sub(rf"\g<host>{HIDDEN}", text)
    text = _PARAMETERS.sub(_without_value, text)
    text = _APART.sub(_without_value, text)
    text = _QUOTED.sub(_without_value, text)
    text = _DRAWN.sub(lambda match: f"{match['name']}{HIDDEN}" if _looks_drawn(match["value"]) else match[0], text)
    text = _TOKENS.sub(HIDDEN, text)
    return _AUTHORIZATION.sub(rf"\g<name>{HIDDEN}", text)


def holds_secret(text: str) -> bool:
    """Whether an address or another text shows a secret by its form, whatever the environment is.

    >>> holds_secret("https://abc@git.example.com/qure.git"), holds_secret("ssh://git@git.example.com/qure.git")
    (True, False)
    >>> holds_secret("s3://bucket/data?X-Amz-Signature=0f3a"), holds_secret("https://host/data?page=2")
    (True, False)
    """
    return redacted(text, {}) != text


def names_a_secret(name: str) -> bool:
    """Whether a parameter or variable of this name may hold a secret; `is_secret` asks its value too.

    >>> names_a_secret("AWS_SECRET_ACCESS_KEY"), names_a_secret("storage.dbPassword"), names_a_secret("text_tokens")
    (True, True, False)
    """
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    if any("password" in word or "passwd" in word for word in words):
        return True
    for before, word in zip(["", *words], words, strict=False):
        if word in _SECRET_WORDS and not (word in ("token", "pass") and before in _TEXT):
            return True
        if word in ("key", "tokens") and before in _KINDS_OF_KEY:
            return True
    return False


def is_secret(name: str, value: Any) -> bool:
    """Whether a parameter or variable is a secret: its name may be one's, and its value could be one.

    Numbers, yes and no, and what is a file or folder here, or names a file elsewhere, are none: `PWD` holds a path.

    >>> is_secret("PWD", "/"), is_secret("PWD", "hunter2hunter2"), is_secret("max_token", 77), is_secret("token", True)
    (False, True, False, False)
    """
    if not names_a_secret(name) or value is None or isinstance(value, bool | int | float):
        return False
    text = str(value).strip()
    if not text or text == HIDDEN or text.lower() in ("true", "false", "none", "null", "yes", "no"):
        return False
    if not text.startswith(("/", "./", "../", "~/")):
        return True
    return not (name.upper() == "PWD" or _FILE.search(text) or _exists(text))


def _exists(text: str) -> bool:
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):
        return False


def _without_userinfo(match: re.Match[str]) -> str:
    """A user's name alone is no secret; over HTTP what stands there is a token."""
    scheme, user = match["scheme"], match["user"]
    is_web = re.fullmatch(r"(?:[\w.-]+\+)?https?", scheme, re.IGNORECASE)  # git+https too
    if not user or (":" not in user and not is_web and not _looks_drawn(user)):
        return match[0]
    return f"{scheme}://{HIDDEN}@"


def _without_value(match: re.Match[str]) -> str:
    name = match["name"].strip("?&;#='\": \t\n").lstrip("-")
    return f"{match['name']}{HIDDEN}" if _SIGNATURE.search(name) or names_a_secret(name) else match[0]


def _looks_drawn(word: str) -> bool:
    """Whether a word is long and of mixed characters, as what a machine has drawn."""
    kinds = sum(re.search(kind, word) is not None for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    return len(word) >= 20 and kinds >= 2


def _secrets(environment: Mapping[str, str]) -> list[str]:
    found = {value for name, value in environment.items() if len(value) >= _SHORTEST_SECRET and is_secret(name, value)}
    # Longest first: a secret that contains another must not leave its rest behind.
    return sorted(found, key=len, reverse=True)
