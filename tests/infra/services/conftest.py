"""The real services, in folders of the tests' own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.services.services import Services


@pytest.fixture
def services(tmp_path: Path, services_in: Callable[[Path], Services]) -> Iterator[Services]:
    """Not started yet; stopped in the end."""
    project = tmp_path / "a project"
    project.mkdir()
    services = services_in(project)
    yield services
    services.stop()
