"""What is served ranks as what was evaluated."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qure.benchmarks import get_benchmark
from qure.datasets.image_store import open_images
from qure.errors import BadInput
from qure.serving.retriever import Retriever


@pytest.mark.parametrize(("training_set", "drops_reference"), [("fashioniq", False), ("cirr", True)])
def test_every_query_finds_what_evaluation_found_in_that_order(
    served: Callable[[str], Any], training_set: str, drops_reference: bool
) -> None:
    """From the image file and the text of one request to the ten best, against the ranking that metrics are made of."""
    made = served(training_set)
    retriever = Retriever.load(made.model, made.gallery)
    images = open_images(get_benchmark(training_set).root(made.data))
    asked = made.evaluation.per_query
    assert len(asked) >= 40
    for query in asked.itertuples():
        (found,) = retriever.retrieve(
            [images.read(query.reference)],
            [query.text],
            top_k=[10],
            groups=[query.category],
            exclude=[query.reference if drops_reference else None],
        )
        expected = made.evaluation.top[query.query_id][:10]
        assert [image for image, _ in found] == [image for image, _ in expected], query.query_id
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=2e-6)


def test_a_gallery_says_what_features_are_rounded_to(served: Callable[[str], Any], tmp_path: Path) -> None:
    made = served("fashioniq")
    assert json.loads((made.gallery / "features.json").read_text()) == {"dtype": "fp16"}
    for name in ("embeddings.safetensors", "groups.json"):
        (tmp_path / name).symlink_to(made.gallery / name)
    (tmp_path / "features.json").write_text('{"dtype": "int4"}')
    with pytest.raises(BadInput, match=r"features\.json, field 'dtype': 'int4' is not a number format"):
        Retriever.load(made.model, tmp_path)


def test_an_older_gallery_in_half_precision_is_converted_once(
    served: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qure.evaluation.ranking.embeddings import read_embeddings, write_embeddings

    made = served("fashioniq")
    stored = read_embeddings(made.gallery / "embeddings.safetensors")
    write_embeddings(tmp_path / "embeddings.safetensors", stored.ids, stored.source, dtype="fp16")
    (tmp_path / "groups.json").symlink_to(made.gallery / "groups.json")
    retriever = Retriever.load(made.model, tmp_path)
    images = open_images(get_benchmark("fashioniq").root(made.data))
    query = next(made.evaluation.per_query.itertuples())
    reference = images.read(query.reference)
    converted: list[int] = []
    to_fp32 = torch.Tensor.float
    monkeypatch.setattr(torch.Tensor, "float", lambda one: converted.append(one.numel()) or to_fp32(one))
    (found,) = retriever.retrieve([reference], [query.text], top_k=[3], groups=[None], exclude=[None])
    assert len(found) == 3
    assert max(converted, default=0) < stored.vectors.size / 10, "a request converts no gallery"


def test_a_query_that_is_none_is_named_by_row_and_field(served: Callable[[str], Any]) -> None:
    made = served("fashioniq")
    retriever = Retriever.load(made.model, made.gallery)
    query: Any = {"references": [b"", b""], "texts": ["is red"] * 2, "top_k": [1] * 2, "groups": [None] * 2}
    with pytest.raises(BadInput, match="row 1, field 'exclude': 3 is not an image id"):
        retriever.retrieve(**query, exclude=[None, 3])  # type: ignore[list-item]
    for ask in (
        lambda: retriever.embed_images([1.5]),  # type: ignore[list-item]
        lambda: retriever.embed_queries([None], ["is red"]),  # type: ignore[list-item]
    ):
        with pytest.raises(
            BadInput, match=r"row 0, field 'reference': not the bytes of an image file but (float|None)"
        ):
            ask()
