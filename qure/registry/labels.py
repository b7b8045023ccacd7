"""Names by which a platform's lists tell models apart: else every one of them is called "model"."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qure.models.manifest import read_manifest
from qure.registry.registration import registered_name
from qure.tracking import data_fingerprint

#: Characters of a fingerprint that stand in a name.
_SHOWN = 12


def model_label(training_set: str, model: Path, data: Path) -> dict[str, Any]:
    """A trained model that is not registered yet.

    Args:
        training_set: which.
        model: model folder.
        data: data root that it was trained on.

    Returns:
        display_name, training_set, fingerprint, data_fingerprint.
    """
    fingerprint = str(read_manifest(model)["fingerprint"])
    return {
        "display_name": f"{registered_name(training_set)} {fingerprint[:_SHOWN]}",
        "training_set": training_set,
        "fingerprint": fingerprint,
        "data_fingerprint": data_fingerprint(data),
    }


def version_label(registration: Mapping[str, Any]) -> dict[str, Any]:
    """A registered version.

    Args:
        registration: what `qure.registry.stage.register` returns, or of a champion `fetch_champion`.

    Returns:
        display_name, registered_version, fingerprint, data_fingerprint.
    """
    return {
        "display_name": f"{registration['name']} version {registration['version']}",
        "registered_version": int(registration["version"]),
        "fingerprint": str(registration["model_fingerprint"]),
        "data_fingerprint": str(registration["data_fingerprint"]),
    }
