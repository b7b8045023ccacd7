"""Parameters, metrics and digests as MLflow takes them."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from qure.tracking.redaction import HIDDEN, is_secret, redacted

#: Parameters longer than this are logged as their digest.
LONGEST_PARAMETER = 500
_METRIC_CHARACTERS = re.compile(r"[^\w.\- :/]")


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one level with dotted keys.

    >>> flattened({"negatives": {"rule": "paper"}, "seed": 1})
    {'negatives.rule': 'paper', 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def parameter_value(key: str, value: Any) -> str:
    """A parameter as MLflow gets it: hidden when name and value say secret, without credentials, long ones as a digest.

    >>> parameter_value("s3.secret_key", "abc"), parameter_value("uri", "s3://u:p@host/b"), parameter_value("n", 3)
    ('***', 's3://***@host/b', '3')
    >>> parameter_value("ids", "x" * 501)
    'sha256:3ac31d30..., 501 characters'
    """
    text = str(value)
    if is_secret(key, value):
        return HIDDEN
    if len(text) > LONGEST_PARAMETER:
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:8]}..., {len(text)} characters"
    return redacted(text)


def metric_name(name: str) -> str:
    """A metric's name in the characters that MLflow takes.

    >>> metric_name("fashioniq/recall@10 (val)")
    'fashioniq/recall_at_10 _val_'
    """
    return _METRIC_CHARACTERS.sub("_", name.replace("@", "_at_"))


def dataset_digest(value: str) -> str:
    """At most 36 characters, as MLflow wants a dataset's digest: a DVC md5 fits whole.

    >>> dataset_digest("md5:39543f124e4c7d03705ab90e9d7bde28.dir")
    '39543f124e4c7d03705ab90e9d7bde28.dir'
    >>> dataset_digest("md5:39543f124e4c7d03705ab90e9d7bde28.dir+changed:0a1b2c3d")
    '39543f124e4c7d03705ab90e9d7+0a1b2c3d'
    """
    value, _, changed = value.partition("+changed:")
    whole = value.partition(":")[2] or value
    return f"{whole[:27]}+{changed}" if changed else whole[:36]
