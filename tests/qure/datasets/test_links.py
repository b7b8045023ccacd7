"""Links to folders are found wherever they are, and no other links."""

from pathlib import Path

from qure.datasets.links import linked_folders


def test_links_to_folders_are_found_at_every_depth(tmp_path: Path) -> None:
    outside, data = tmp_path / "outside", tmp_path / "data"
    (outside / "images").mkdir(parents=True)
    (data / "cirr" / "train").mkdir(parents=True)
    (outside / "images" / "A.png").touch()
    (data / "fashioniq").symlink_to(outside)
    (data / "cirr" / "dev").symlink_to(outside / "images")
    (data / "cirr" / "train" / "0").symlink_to("../dev", target_is_directory=True)
    assert linked_folders(data) == [data / "cirr" / "dev", data / "cirr" / "train" / "0", data / "fashioniq"]
    assert linked_folders(data / "fashioniq") == [data / "fashioniq"]


def test_links_to_files_are_versioned_and_not_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "A.png").touch()
    (tmp_path / "images" / "B.png").symlink_to("A.png")
    (tmp_path / "images" / "C.png").symlink_to("nowhere")
    assert linked_folders(tmp_path) == []
    assert linked_folders(tmp_path / "missing") == []
