"""Helpers of the fuzz tests: tests are no package, so modules are loaded by their paths, and import each other so."""

import importlib.util
import sys
from pathlib import Path

#: In the order in which they import each other.
HELPERS = ("damage", "target", "annotations", "pictures", "tensors", "tables", "documents", "served")

#: They hold no doctests.
collect_ignore = [f"{name}.py" for name in HELPERS] + ["valid.py"]

for name in HELPERS:
    full = f"qure_tests_fuzz_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
