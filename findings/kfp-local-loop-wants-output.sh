#!/usr/bin/env bash
# kfp 2.17.0's local runner loops over a task's list only where that output is called "Output".
#
# Valid input: a task with two outputs, a text and a list, and a ParallelFor over the list. Both pipelines compile; they
# differ in the list's name alone. Seen: named "items", the local run ends with "Parent pipeline input argument
# 'pipelinechannel--plan-items-items' not found"; named "Output" (what kfp calls the output of a task that has one), it
# runs. So a task that gains a second output breaks a loop that worked, unless its list keeps that name.
#
# Exit 0: as described. Exit 1: kfp behaves differently now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check kfp==2.17.0

cat >loop.py <<'PYTHON'
import sys
from typing import NamedTuple

import kfp
from kfp import compiler, dsl, local

print("kfp", kfp.__version__)
name = sys.argv[1]
local.init(runner=local.SubprocessRunner(use_venv=False), raise_on_error=True)


@dsl.component(install_kfp_package=False)
def plan_items() -> NamedTuple("Plan", [("colour", str), ("items", list)]):
    from collections import namedtuple

    return namedtuple("Plan", ["colour", "items"])("blue", ["small", "large"])


@dsl.component(install_kfp_package=False)
def plan_output() -> NamedTuple("Plan", [("colour", str), ("Output", list)]):
    from collections import namedtuple

    return namedtuple("Plan", ["colour", "Output"])("blue", ["small", "large"])


@dsl.component(install_kfp_package=False)
def note(size: str):
    with open("seen.txt", "a") as file:
        file.write(f"{size}\n")


@dsl.pipeline
def order():
    planned = plan_items() if name == "items" else plan_output()
    with dsl.ParallelFor(planned.outputs[name]) as size:
        note(size=size)


compiler.Compiler().compile(order, f"{name}.yaml")
order()
PYTHON
for name in items Output; do
  rm -f seen.txt
  env/bin/python loop.py "$name" >"log-$name.txt" 2>&1 && ended=0 || ended=$?
  [[ -s $name.yaml ]] || { tail -20 "log-$name.txt"; exit 1; }
  echo "the list is called $name: exit $ended; the loop saw: $(sort seen.txt 2>/dev/null | xargs)"
  eval "${name}_ended=$ended"
done
grep '^kfp ' log-items.txt
tail -1 log-items.txt
grep -q "Parent pipeline input argument 'pipelinechannel--plan-items-items' not found" log-items.txt &&
  [[ $items_ended == 1 && $Output_ended == 0 && $(sort seen.txt) == $'large\nsmall' ]] ||
  { echo "kfp behaves differently now" >&2; exit 1; }
