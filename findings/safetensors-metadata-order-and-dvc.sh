#!/usr/bin/env bash
# The same model, saved with two or more metadata entries, is another file by chance: DVC keeps it again.
#
# Valid input: one array, and metadata of four texts, given in the same order each time. Seen with safetensors 0.8.0: the
# entries stand in the header in an order that chance decides, from process to process and from call to call, so the
# file's digest differs too (Python's own hashing has no part in it: PYTHONHASHSEED=0 changes nothing). Of two entries
# there are two files, of four up to 24. DVC 3.67.1, which knows a file by its MD5, takes such a save for a new version: a
# stage that gives the same weights counts as changed, what depends on the file runs again, and the cache and the remote
# hold a whole copy of each. With one entry the bytes stay the same.
#
# Exit 0: as described. Exit 1: it is different now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6 dvc==3.67.1 2>/dev/null

cat >save.py <<'PYTHON'
import sys

import numpy
from safetensors.numpy import load_file, save_file

entries = {"format": "np", "model": "dress-search", "epoch": "6", "seed": "0"}
kept = dict(list(entries.items())[: int(sys.argv[2])])
weights = {"weight": numpy.arange(1000, dtype=numpy.float32)}
save_file(weights, sys.argv[1], metadata=kept)
assert (load_file(sys.argv[1])["weight"] == weights["weight"]).all()
PYTHON
export PYTHONHASHSEED=0
copies() { # how many files DVC holds of ten saves with so many metadata entries
  rm -rf project && mkdir project && (
    cd project
    export DVC_NO_ANALYTICS=1
    ../env/bin/dvc init --quiet --no-scm
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      ../env/bin/python ../save.py model.safetensors "$1"
      ../env/bin/dvc add --quiet model.safetensors
    done
    find .dvc/cache/files -type f | wc -l
  )
}
one=$(copies 1) four=$(copies 4)
echo "safetensors 0.8.0, DVC 3.67.1: ten saves of the same weights"
echo "with one metadata entry:   $one file in DVC's cache"
echo "with four metadata entries: $four files"
[[ $one == 1 && $four -gt 1 ]] || { echo "it is different now" >&2; exit 1; }
