"""What the packaged model says of a request that cannot be answered."""

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch

from qure.images import ImageError
from qure.serving.forms import InvalidQuery
from qure.serving.intake import Intake, Limits
from qure.serving.packaged import ComposedImageRetrieval


def embed_images(images: list[bytes]) -> torch.Tensor:
    """One vector per image, its length; the numbers of rows are those of the images that it is given."""
    for row, data in enumerate(images):
        if data.startswith(b"?"):
            raise ImageError(f"row {row}, field 'reference'", "not an image of a known type")
    return torch.tensor([[float(len(data))] for data in images])


@pytest.fixture
def model() -> ComposedImageRetrieval:
    made = ComposedImageRetrieval()
    made._intake, made._retriever = Intake(Limits()), SimpleNamespace(embed_images=embed_images)  # type: ignore[assignment]
    return made


def asked(model: ComposedImageRetrieval, **parameters: Any) -> pd.DataFrame:
    rows = pd.DataFrame({"reference": [b"!", b"?", b"!!!", None]})
    return model.predict(None, rows, {"mode": "embed_images"} | parameters)  # type: ignore[arg-type]


def test_an_unknown_mode_names_those_there_are(model: ComposedImageRetrieval) -> None:
    with pytest.raises(InvalidQuery, match=r"field 'mode': no mode 'embed'\. Modes: retrieve, embed_queries") as caught:
        asked(model, mode="embed")
    assert caught.value.get_http_status_code() == 400


def test_rows_that_are_answered_alone_are_numbered_as_they_were_sent(model: ComposedImageRetrieval) -> None:
    found = asked(model, partial=True)
    assert found["embedding"].tolist() == [[1.0], [], [3.0], []]
    assert found["error"].tolist() == [
        None,
        "row 1, field 'reference': not an image of a known type. Send another image",
        None,
        "row 3, field 'reference': there is no image. Send the file's bytes, in JSON as base64",
    ]
