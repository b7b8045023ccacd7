"""What a search found: where its pictures lie, and a contact sheet of them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.errors import BadInput

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pixels: side of a picture on the sheet, height of its caption, space between.
SIDE, CAPTION, GAP = 192, 40, 12
COLUMNS = 5
FORMATS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class SheetRow:
    """One result of a search.

    Attributes:
        rank: from 1.
        relevance: of the query and the image.
        image_id: in the champion's gallery.
        path: its file; None where data/ does not hold it as a file of its own.
    """

    rank: int
    relevance: float
    image_id: str
    path: Path | None

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"path": str(self.path) if self.path else None}


def image_paths(data: Path, training_set: str, image_ids: Iterable[str]) -> dict[str, Path]:
    """Image id -> file, for those that lie in the training set's folder; none where images are packed or missing."""
    from qure.benchmarks import get_benchmark
    from qure.datasets import image_store

    path_of = image_store.image_paths(get_benchmark(training_set).root(data))
    return {one: path for one in image_ids if (path := path_of(one)) is not None}


def require_sheet(file: Path) -> None:
    """Refuses a contact sheet that could not be written, before the champion is asked.

    Raises:
        BadInput: the name says no picture, or its folder does not exist.
    """
    if file.suffix.lower() not in FORMATS:
        raise BadInput("a contact sheet is a picture", file=file, remedy=f"End its name in {' or '.join(FORMATS)}")
    if not file.absolute().parent.is_dir():
        raise BadInput("its folder does not exist", file=file, remedy="Make it, or name another")


def draw_sheet(file: Path, query: Path, text: str, answers: Sequence[SheetRow]) -> None:
    """Draws the query and its results with rank, relevance and id, and writes the picture whole or not at all."""
    from PIL import Image

    from qure.files import atomic_file

    rows = -(-len(answers) // COLUMNS)
    width, height = COLUMNS * (SIDE + GAP) + GAP, (rows + 1) * (SIDE + CAPTION + GAP) + GAP
    sheet = Image.new("RGB", (width, height), "white")
    _place(sheet, 0, 0, query, f"query\n{text}", caption_width=width - 2 * GAP)
    for place, one in enumerate(answers):
        row, column = divmod(place, COLUMNS)
        _place(sheet, column, row + 1, one.path, f"{one.rank}   {one.relevance:.3f}\n{one.image_id}")
    with atomic_file(file) as temporary:
        sheet.save(temporary, format="PNG" if file.suffix.lower() == ".png" else "JPEG")


def _place(sheet: "Image", column: int, row: int, file: Path | None, caption: str, caption_width: int = SIDE) -> None:
    from PIL import Image, ImageDraw, ImageFont, ImageOps

    left, top = GAP + column * (SIDE + GAP), GAP + row * (SIDE + CAPTION + GAP)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    if file is None:
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), outline="grey")
        draw.text((left + GAP, top + SIDE // 2), "not in data/", fill="grey", font=font)
    else:
        with Image.open(file) as opened:
            picture = ImageOps.pad(ImageOps.exif_transpose(opened).convert("RGB"), (SIDE, SIDE), color="white")
        sheet.paste(picture, (left, top))
    for number, line in enumerate(caption.split("\n", 1)):
        while line and draw.textlength(line, font=font) > caption_width:
            line = line[:-2].rstrip("…") + "…" if len(line) > 2 else ""
        draw.text((left, top + SIDE + 2 + 18 * number), line, fill="black", font=font)
