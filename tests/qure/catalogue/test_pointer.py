"""What a `.dvc` file says of a folder, and the files that say something else."""

import pytest

from qure.catalogue.pointer import tracked_folder

FOLDER = "0123456789abcdef0123456789abcdef.dir"


def test_the_folder_that_dvc_add_describes() -> None:
    written = f"outs:\n- md5: {FOLDER}\n  size: 1\n  nfiles: 2\n  hash: md5\n  path: data\n"
    assert tracked_folder(written) == FOLDER


@pytest.mark.parametrize(
    "written",
    [
        "",
        "outs: [",
        "outs: []",
        "outs: 7",
        "- outs",
        "outs: [{path: data}]",
        "outs: [data]",
        f"outs: [{{md5: {FOLDER}}}, {{md5: {FOLDER}}}]",
        f"outs: [{{md5: {FOLDER.removesuffix('.dir')}}}]",
        f"outs: [{{md5: {FOLDER}.dir}}]",
        f"outs: [{{md5: {FOLDER.upper()}}}]",
    ],
    ids=["empty", "no YAML", "nothing", "a number", "a list", "no hash", "a name", "two", "a file", "more", "capitals"],
)
def test_what_describes_no_folder(written: str) -> None:
    assert tracked_folder(written) is None
