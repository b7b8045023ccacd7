#!/usr/bin/env bash
# kfp 2.17.0's local cache never serves a task whose metrics are logged as kfp's own examples log them.
#
# Valid input: two tasks that differ in one thing. Both call `metrics.log_metric`, which writes into the artifact's
# metadata; one also writes a file at `metrics.path`. Seen, with `enable_caching=True` and the same pipeline run twice: the
# task with the file is served from the cache, the other runs again each time, silently, because an artifact whose
# file is not there counts as lost.
#
# Exit 0: as described. Exit 1: kfp behaves differently now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check kfp==2.17.0

cat >check.py <<'PYTHON'
import kfp
from kfp import dsl, local

print("kfp", kfp.__version__)
local.init(
    runner=local.SubprocessRunner(use_venv=False), raise_on_error=True, enable_caching=True, cache_root="cache"
)


@dsl.component(install_kfp_package=False)
def judge(metrics: dsl.Output[dsl.Metrics]):
    metrics.log_metric("recall", 48.7)
    with open("ran.txt", "a") as file:
        file.write("judge\n")


@dsl.component(install_kfp_package=False)
def judge_with_file(metrics: dsl.Output[dsl.Metrics]):
    metrics.log_metric("recall", 48.7)
    with open(metrics.path, "w") as file:
        file.write("48.7")
    with open("ran.txt", "a") as file:
        file.write("judge_with_file\n")


@dsl.pipeline
def check():
    judge()
    judge_with_file()


check()
PYTHON
for run in first second; do
  env/bin/python check.py >"$run.txt" 2>&1 || { tail -20 "$run.txt"; exit 1; }
done
grep '^kfp ' first.txt
echo "how often each task ran in two runs of the pipeline:"
sort ran.txt | uniq -c
[[ $(sort ran.txt | uniq -c | xargs) == "2 judge 1 judge_with_file" ]] ||
  { echo "kfp behaves differently now" >&2; exit 1; }
