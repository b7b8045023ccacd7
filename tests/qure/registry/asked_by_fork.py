"""Runs `qure/registry/answering.py` in forks of a process that has imported what every package needs, and no qure.

Each fork is as free of qure as a fresh interpreter is, and need not import torch again: seconds of each promotion.

    python -P asked_by_fork.py ANSWERING        # then on standard input, per package: PACKAGE<tab>OUTPUT
"""

import importlib
import importlib.util
import os
import sys


def main() -> None:
    """Answers each line with the exit status of the fork that asked."""
    for name in ("mlflow.pyfunc", "pandas", "torch", "transformers"):
        importlib.import_module(name)
    assert not [name for name in sys.modules if name.partition(".")[0] == "qure"]
    spec = importlib.util.spec_from_file_location("answering", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    answering = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(answering)
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
