"""Runs `qure/registry/answering.py` in forks of a process that has imported what every package needs, and no qure.

That process is itself a copy of the one that collects tests, made while that one has begun no test, and then freed of
qure: each fork is as free of it as a fresh interpreter is, and need not import torch again: seconds of each promotion.
Nor need it compile a package's code again where a module's text is one of the checkout's own.
"""

import contextlib
import importlib
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

ANSWERING = Path(__file__).parents[2] / "qure" / "registry" / "answering.py"


class Asker:
    """The process, and the line to it."""

    def __init__(self) -> None:
        own, other = socket.socketpair()
        self._process = os.fork()
        if self._process == 0:
            try:
                _alone(other)
                _answer(socket.socket(fileno=3))
            finally:
                os._exit(1)
        other.close()
        self._line = own.makefile("rw", encoding="utf-8")
        own.close()

    def ask(self, package: Path, output: Path) -> int:
        """The exit status of the fork that was asked."""
        print(package, output, sep="\t", file=self._line, flush=True)
        return int(self._line.readline())

    def end(self) -> None:
        self._line.close()
        os.waitpid(self._process, 0)


def _alone(line: socket.socket) -> None:
    """Nothing is left open but `line`, which becomes file 3; nothing of qure, of pytest's hooks, of the checkout."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    os.dup2(line.detach(), 3)
    for opened in [int(one.name) for one in Path("/dev/fd").iterdir() if int(one.name) > 3]:
        with contextlib.suppress(OSError):  # the list's own
            os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.pop("PYTHONPATH", None)
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name.partition(".")[0] == "qure"]:
        del sys.modules[name]
    checkout = str(ANSWERING.parents[2])
    sys.path[:] = [place for place in sys.path if place not in ("", checkout)]
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "_pytest.assertion.rewrite"]


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


def _answer(line: socket.socket) -> None:
    """Answers each line with the exit status of the fork that asked; ends with whoever has the other end."""
    lines = line.makefile("rw", encoding="utf-8")
    answering = None
    for asked in lines:
        answering = answering or _prepared()
        package, output = asked.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            sys.argv[1:] = [package, output]
            status = 1
            try:
                status = answering.main()
            finally:
                os._exit(status)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=lines, flush=True)


def _prepared() -> Any:
    """Imports what every package needs; the module that asks."""
    for name in ("mlflow.pyfunc", "pandas", "torch", "transformers.models.blip_2.modeling_blip_2"):
        importlib.import_module(name)
    # What MLflow finds out about all installed packages once in a process, each time that it loads a first model.
    importlib.import_module("mlflow.utils.requirements_utils")._init_packages_to_modules_map()
    # A package's description is read several times: by libyaml in a tenth of the time.
    yaml = importlib.import_module("yaml")
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    assert not [name for name in sys.modules if name.partition(".")[0] == "qure"]
    spec = importlib.util.spec_from_file_location("answering", ANSWERING)
    assert spec is not None
    assert spec.loader is not None
    answering = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(answering)
    keep_compiled(ANSWERING.parents[1])
    return answering
