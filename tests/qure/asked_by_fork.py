"""Runs `qure/registry/answering.py` in forks of a process that has imported what every package needs, and no qure.

Each fork is as free of qure as a fresh interpreter is, and need not import torch again: seconds of each promotion.
Nor need it compile a package's code again where a module's text is one of CODE's, a folder of Python files.

    python -P asked_by_fork.py ANSWERING CODE       # then on standard input, per package: PACKAGE<tab>OUTPUT
"""

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any


def keep_compiled(code: Path) -> None:
    """Gives every later import of a module with the text of one in `code` what is compiled here."""
    compile_source: Callable[..., CodeType] = SourceFileLoader.source_to_code
    kept = {}
    for file in sorted(code.rglob("*.py")):
        code_of = SourceFileLoader("kept", str(file)).get_code("kept")  # its own bytecode, where Python has kept it
        assert code_of is not None
        kept[file.read_bytes()] = code_of

    def of_kept(loader: SourceFileLoader, data: Any, path: Any, **options: Any) -> CodeType:
        if isinstance(data, bytes) and data in kept:
            return _moved(kept[data], str(path))
        return compile_source(loader, data, path, **options)

    SourceFileLoader.source_to_code = of_kept  # type: ignore[method-assign,assignment]


def _moved(code: CodeType, path: str) -> CodeType:
    """The code as compiled from `path`: tracebacks name the package's own file."""
    constants = tuple(_moved(one, path) if isinstance(one, CodeType) else one for one in code.co_consts)
    return code.replace(co_filename=path, co_consts=constants)


def main() -> None:
    """Answers each line with the exit status of the fork that asked."""
    for name in ("mlflow.pyfunc", "pandas", "torch", "transformers.models.blip_2.modeling_blip_2"):
        importlib.import_module(name)
    # What MLflow finds out about all installed packages once in a process, each time that it loads a first model.
    importlib.import_module("mlflow.utils.requirements_utils")._init_packages_to_modules_map()
    # A package's description is read several times: by libyaml in a tenth of the time.
    yaml = importlib.import_module("yaml")
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    assert not [name for name in sys.modules if name.partition(".")[0] == "qure"]
    spec = importlib.util.spec_from_file_location("answering", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    answering = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(answering)
    keep_compiled(Path(sys.argv[2]))
    for line in sys.stdin:
        package, output = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            sys.argv[1:] = [package, output]
            status = 1
            try:
                status = answering.main()
            finally:
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
