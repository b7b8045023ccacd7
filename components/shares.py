"""Shares of feature computation: how they are cut, and how a task that needs all features puts them together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from components.workspace import content_folder, place_output
from qure.benchmarks import image_sets_of
from qure.config import Settings
from qure.errors import BadInput
from qure.files import fingerprint

#: Shares of one run. Argo keeps a run's state in one object of Kubernetes, of at most 1 MiB; each share adds to it.
MOST_SHARES = 128


class Artifact(Protocol):
    """What is read of an artifact of Kubeflow."""

    path: str
    metadata: dict[str, Any]


def shares_of(training_set: str, shards: int) -> list[dict[str, Any]]:
    """The shares of a training set's images: what a loop runs over.

    Args:
        training_set: fashioniq or cirr.
        shards: shares per image set.

    Returns:
        Items {image_set, shard, shards}.

    Raises:
        BadInput: no shares, or more than a run can hold.

    >>> shares_of("fashioniq", 2)
    [{'image_set': 'fashioniq', 'shard': 0, 'shards': 2}, {'image_set': 'fashioniq', 'shard': 1, 'shards': 2}]
    """
    image_sets = image_sets_of(training_set)
    most = MOST_SHARES // len(image_sets)
    if not 1 <= shards <= most:
        raise BadInput(
            f"{shards} shards of {len(image_sets)} image sets ({', '.join(image_sets)}): a Workflow object of "
            f"Kubernetes holds at most {MOST_SHARES} shares in all",
            field="shards",
            remedy=f"From 1 to {most} for {training_set}",
        )
    return [
        {"image_set": image_set, "shard": shard, "shards": shards}
        for image_set in image_sets
        for shard in range(shards)
    ]


def features_key(settings: Settings, validation: Artifact, backbone: Artifact) -> str:
    """One fingerprint of everything that decides features: data, validation, code, backbone, settings.

    Raises:
        BadInput: an artifact carries no fingerprint.
    """
    return fingerprint([carried(validation), carried(backbone), settings.features.model_dump()])


def carried(artifact: Artifact) -> str:
    """The fingerprint that an artifact carries.

    Raises:
        BadInput: it carries none.
    """
    if not artifact.metadata.get("fingerprint"):
        raise BadInput(
            "the artifact carries no fingerprint",
            file=artifact.path,
            field="metadata.fingerprint",
            remedy="Run the pipeline with caching off, so that the task that made it runs again",
        )
    return str(artifact.metadata["fingerprint"])


def merge_shares(
    shares: Sequence[Artifact], artifact: str, workspace: str
) -> tuple[Path, Mapping[str, Mapping[str, Any]]]:
    """Merges the shares of parallel tasks: one folder per image set, equal to a single run's.

    Shares that were merged into the workspace already are left alone: another task may be reading them.

    Args:
        shares: artifacts of precompute_embeddings.
        artifact: path of the artifact, or of a local folder, that the features go to.
        workspace: path of the shared volume; empty for none.

    Returns:
        The folder that holds a feature store per image set; image set -> what `qure.features.stage.collect` returns.

    Raises:
        BadInput: a share is missing, or comes from other images, weights or settings.
    """
    from qure.features.stage import collect

    by_set: dict[str, list[Path]] = {}
    for share in shares:
        by_set.setdefault(str(share.metadata["image_set"]), []).append(content_folder(share.path))
    output = place_output(artifact, workspace, "features", str(shares[0].metadata["key"]), "collected")
    return output, {image_set: collect(folders, output / image_set) for image_set, folders in sorted(by_set.items())}
