"""Searching from Python: a picture plus words, and the images of a gallery that answer best."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qure.errors import BadInput
from qure.files import refuse_pipe
from qure.serving.retriever import Retriever

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Result:
    """One image that a search found.

    Attributes:
        image_id: in the gallery.
        relevance: of the query and the image: the largest dot product over the image's tokens, at most 1.
        path: the image's file; None where it is no file of its own here.
    """

    image_id: str
    relevance: float
    path: Path | None


class Searcher:
    """A model with a gallery; made by `qure.load`.

    Args:
        retriever: ranks the gallery.
        path_of: image id -> its file, if it has one here.
    """

    def __init__(self, retriever: Retriever, path_of: Callable[[str], Path | None]) -> None:
        self._retriever, self._path_of = retriever, path_of

    def __len__(self) -> int:
        """Number of images in the gallery."""
        return len(self._retriever.ids)

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the parts that a search can be restricted to, for example FashionIQ's categories."""
        return self._retriever.groups

    def search(
        self,
        image: "str | Path | bytes | Image",
        text: str,
        *,
        top_k: int = 10,
        group: str | None = None,
        exclude: str | None = None,
    ) -> list[Result]:
        """The images of the gallery that answer best, the best first.

        Args:
            image: the reference image: a path, the bytes of a file, or a Pillow image.
            text: what should be different: "is blue and longer".
            top_k: how many results.
            group: one of `groups`; None searches the whole gallery.
            exclude: an image id to leave out, for example the reference's own.

        Raises:
            BadInput: no such file, an image that cannot be decoded, an empty text, an unknown group, `top_k` below 1.
        """
        try:
            (ranked,) = self._retriever.retrieve(
                [_file_bytes(image)], [text], top_k=[top_k], groups=[group], exclude=[exclude]
            )
        except BadInput as error:  # there is one query: its row number says nothing
            raise BadInput(error.problem, file=error.file, field=error.field, remedy=error.remedy) from None
        return [Result(image_id, relevance, self._path_of(image_id)) for image_id, relevance in ranked]


def _file_bytes(image: "str | Path | bytes | Image") -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | Path):
        refuse_pipe(Path(image))
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise BadInput(f"the image cannot be read: {error.strerror}", file=image) from None
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
