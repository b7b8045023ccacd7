"""The cluster over HTTP of the train jobs' tests (tests/infra/conftest.py)."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "qure_tests_infra_conftest", Path(__file__).parents[2] / "infra" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

cluster = _module.cluster
cluster_api = _module.cluster_api
