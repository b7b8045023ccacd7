"""What a server lets in, and in what size."""

import base64
import io
import struct
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qure.errors import BadInput
from qure.images import decode_image, prepare_image
from qure.serving.intake import ENOUGH, ORDINARY, Intake, Limits

SIZE = 224


def _file(size: tuple[int, int], kind: str = "JPEG", **options: Any) -> bytes:
    """A smooth picture with a bright corner."""
    across, down = (np.linspace(0, 255, length).astype(np.uint16) for length in size)
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[:, :, 0], pixels[:, :, 1] = across, down[:, None]
    pixels[:, :, 2] = (across + down[:, None]) // 2
    pixels[: size[1] // 4, : size[0] // 4] = 255
    output = io.BytesIO()
    Image.fromarray(pixels).save(output, kind, **options)
    return output.getvalue()


@pytest.fixture
def intake() -> Intake:
    return Intake(Limits())


def test_ordinary_images_pass_as_they_are(intake: Intake) -> None:
    files = [_file((400, 300)), _file((2000, 1999)), _file((300, 400), "PNG")]
    assert intake.admitted(files) == files


def test_base64_is_decoded_in_every_form(intake: Intake) -> None:
    file = _file((40, 30))
    text = base64.b64encode(file)
    lines = base64.encodebytes(file)
    assert (
        intake.admitted([text, text.decode(), np.bytes_(text), lines, bytearray(file), memoryview(file)]) == [file] * 6
    )
    with pytest.raises(BadInput, match=r"row 4, field 'reference': not whole base64"):
        intake.admitted([text[:-5]], first=4)
    with pytest.raises(BadInput, match=r"row 0, field 'reference': not the bytes of an image file but float"):
        intake.admitted([1.5])


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_photograph_is_decoded_at_a_part_of_its_size(intake: Intake, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = _file((6000, 4500), exif=exif.tobytes())
    (found,) = intake.admitted([file])
    made = decode_image(found, "found")
    assert min(made.size) >= ENOUGH
    assert made.width * made.height < ORDINARY
    wanted, ours = (prepare_image(one, SIZE, name="x").astype(float) for one in (file, found))
    assert np.abs(wanted - ours).mean() < 1.0, "the same picture, the same way up"


def test_what_can_only_be_decoded_whole_is_bounded(intake: Intake) -> None:
    with pytest.raises(BadInput, match=r"row 0.*25,000,000 pixels are too many, 24,000,000 are decoded"):
        intake.admitted([_file((5000, 5000), "PNG", compress_level=1)])
    with pytest.raises(BadInput, match="are too many"):
        intake.admitted([_file((5000, 5000), progressive=True)])
    assert intake.admitted([_file((5000, 5000))])


def test_a_request_is_bounded_as_a_whole() -> None:
    intake = Intake(Limits(request=250_000))
    assert len(intake.admitted([_file((400, 300))] * 2)) == 2
    with pytest.raises(BadInput, match=r"row 2.*more than 250,000 pixels together"):
        intake.admitted([_file((400, 300))] * 3)


def test_what_is_no_image_is_left_to_whoever_decodes_it(intake: Intake) -> None:
    assert intake.admitted([b"\x00\x01 no image"]) == [b"\x00\x01 no image"]


def test_the_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_SERVING_MAX_PIXELS", "1000")
    monkeypatch.setenv("QURE_SERVING_CONCURRENCY", "1")
    limits = Limits.of_environment()
    assert (limits.image, limits.request, limits.concurrency) == (1000, Limits().request, 1)
    monkeypatch.setenv("QURE_SERVING_CONCURRENCY", "0")
    with pytest.raises(BadInput, match="QURE_SERVING_CONCURRENCY"):
        Limits.of_environment()


def test_no_more_requests_are_at_work_than_allowed() -> None:
    intake, together, most = Intake(Limits(concurrency=2)), [0], [0]
    gate, done = threading.Lock(), threading.Event()

    def work() -> None:
        with intake.turn:
            with gate:
                together[0] += 1
                most[0] = max(most[0], together[0])
            done.wait(0.05)
            with gate:
                together[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 2


def test_a_header_that_promises_more_than_could_ever_be_decoded_is_refused(intake: Intake) -> None:
    whole = _file((40, 30), "PNG")
    header = struct.pack(">4sII", b"IHDR", 60_000, 60_000) + whole[24:29]
    bomb = whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    with pytest.raises(BadInput, match=r"row 2, field 'reference': far too many pixels\. Send a smaller image"):
        intake.admitted([_file((40, 30)), bomb], first=1)


def test_a_large_photograph_that_is_cut_off_is_refused_by_its_row(intake: Intake) -> None:
    whole = _file((4000, 3000))
    with pytest.raises(BadInput, match=r"row 1, field 'reference': cannot be decoded, truncated or damaged"):
        intake.admitted([_file((40, 30)), whole[: len(whole) // 2]])
