"""Secrets out of everything that is logged, shown or stored."""

import os
import re
from collections.abc import Mapping

HIDDEN = "***"

#: user:password@ or token@ of a URI; also where the password itself holds an @ or a slash.
_CREDENTIALS = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)(?:[^\s/'\"]*:[^\s'\"]*|[^\s/'\"]*)@")
#: ?X-Amz-Signature=..., &password=... of a URI or a connection string.
_PARAMETERS = re.compile(
    r"(?P<name>[?&;\s](?:[\w.-]*(?:signature|credential|security-token|password|passwd|secret|token|sig))=)[^&;\s'\"]+",
    re.IGNORECASE,
)
_AUTHORIZATION = re.compile(r"(?P<name>\b(?:Bearer|Basic)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_SECRET_NAME = re.compile(
    r"(^|[_.\-])(secret|password|passwd|pwd|token|credentials?|api[_-]?key|access[_-]?key(?:[_-]id)?|private[_-]?key)"
    r"($|[_.\-])",
    re.IGNORECASE,
)
#: Shorter values of secret-looking variables are too likely to be ordinary words.
_SHORTEST_SECRET = 8


def redacted(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` without credentials: those in URIs, in query parameters, and every value of a secret-looking variable.

    Args:
        text: anything that is about to be logged.
        environment: variables whose values must not appear; the process's own when left out.

    >>> redacted("postgresql://qure:p@ss@db:5432/mlflow is down")
    'postgresql://***@db:5432/mlflow is down'
    >>> redacted("GET /b/k?X-Amz-Signature=0f3a&x=1", {})
    'GET /b/k?X-Amz-Signature=***&x=1'
    >>> redacted("key hunter2hunter2 refused", {"DB_PASSWORD": "hunter2hunter2"})
    'key *** refused'
    """
    for secret in _secrets(os.environ if environment is None else environment):
        text = text.replace(secret, HIDDEN)
    text = _CREDENTIALS.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _PARAMETERS.sub(rf"\g<name>{HIDDEN}", text)
    return _AUTHORIZATION.sub(rf"\g<name>{HIDDEN}", text)


def names_a_secret(name: str) -> bool:
    """Whether a parameter or variable of this name holds a secret.

    >>> names_a_secret("AWS_SECRET_ACCESS_KEY"), names_a_secret("storage.password"), names_a_secret("text_tokens")
    (True, True, False)
    """
    return _SECRET_NAME.search(name) is not None


def _secrets(environment: Mapping[str, str]) -> list[str]:
    found = {value for name, value in environment.items() if names_a_secret(name) and len(value) >= _SHORTEST_SECRET}
    # Longest first: a secret that contains another must not leave its rest behind.
    return sorted(found, key=len, reverse=True)
