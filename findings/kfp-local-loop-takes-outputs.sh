#!/usr/bin/env bash
# kfp 2.17.0's local runner hands the tasks of a ParallelFor the loop's item in place of every other task's output that they take.
#
# Valid input: a task that returns a text, and a loop whose body takes that text beside the loop's item. The compiled pipeline
# says so rightly (the loop is given both). Seen: the body's task gets the item for both arguments, silently where the
# types agree; the run succeeds. A pipeline's own parameter that the body takes arrives as it is.
#
# Exit 0: as described. Exit 1: kfp behaves differently now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check kfp==2.17.0

cat >loop.py <<'PYTHON'
import kfp
from kfp import dsl, local

print("kfp", kfp.__version__)
local.init(runner=local.SubprocessRunner(use_venv=False), raise_on_error=True)


@dsl.component(install_kfp_package=False)
def colour() -> str:
    return "blue"


@dsl.component(install_kfp_package=False)
def sizes() -> list:
    return ["small", "large"]


@dsl.component(install_kfp_package=False)
def note(size: str, of_task: str, of_pipeline: str):
    with open("seen.txt", "a") as file:
        file.write(f"{size} {of_task} {of_pipeline}\n")


@dsl.pipeline
def order(shape: str = "round"):
    painted = colour()
    with dsl.ParallelFor(sizes().output) as size:
        note(size=size, of_task=painted.output, of_pipeline=shape)


order()
PYTHON
env/bin/python loop.py >log.txt 2>&1 || { tail -20 log.txt; exit 1; }
grep '^kfp ' log.txt
echo "size, another task's output (\"blue\"), the pipeline's parameter, as each task of the loop got them:"
sort seen.txt
[[ $(sort seen.txt) == $'large large round\nsmall small round' ]] || { echo "kfp behaves differently now" >&2; exit 1; }
