"""Files that this user alone may read: passwords, drawn once, and what is written with them."""

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from qure.files import read_json, sync

_BYTES = 24


def passwords(file: Path, names: Sequence[str]) -> dict[str, str]:
    """Passwords by name from a file, which is made, or completed, where it lacks some."""
    known = {str(name): str(value) for name, value in read_json(file).items()} if file.is_file() else {}
    if missing := [name for name in names if name not in known]:
        known |= {name: secrets.token_hex(_BYTES) for name in missing}
        write_secret(file, json.dumps(known))
    return known


def write_secret(file: Path, text: str) -> None:
    """Writes a text whole or not at all; at no moment can another user read it."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)
    sync(file.parent)
