"""What a training leaves behind."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from qure.training.outputs import _write_example


def test_a_mining_that_kept_no_example_leaves_none(tmp_path: Path) -> None:
    """An older version's, which a training that was interrupted goes on from."""
    trainer: Any = SimpleNamespace(mining_folder=lambda epoch: tmp_path / str(epoch), data=None)
    _write_example(trainer, tmp_path, 1)
    assert list(tmp_path.iterdir()) == []
