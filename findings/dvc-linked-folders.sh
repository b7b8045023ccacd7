#!/usr/bin/env bash
# DVC 3.67.1 leaves folders that are links out of what it tracks, without a word, and stays "up to date" whatever changes
# behind them.
#
# Valid input: data/ with one real folder and one that is a link to a folder outside, as people make them to keep big
# data on another disk. Seen: `dvc add data` exits 0 and prints no warning, data.dvc says `nfiles: 1` of 2, and
# `dvc status` says "up to date" after a file behind the link has changed. Links to FILES are tracked (their content).
# `dvc add LINK` itself is refused with a message, so the silence is for links below the added folder alone.
#
# Exit 0: as described. Exit 1: DVC behaves differently now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check dvc==3.67.1
export DVC_NO_ANALYTICS=1 PATH="$work/env/bin:$PATH"

mkdir -p project/data/real disk/linked
cd project
dvc init --quiet --no-scm
echo one >data/real/one.txt
echo two >../disk/linked/two.txt
ln -s "$work/disk/linked" data/linked

dvc add data >added.txt 2>&1
echo "dvc $(dvc --version); dvc add: exit 0"
cat data.dvc
files=$(sed -n 's/^ *nfiles: //p' data.dvc)
echo changed >../disk/linked/two.txt
status=$(dvc status)
echo "tracked files: $files of 2; after a change behind the link: $status"

said=$(grep -ciE 'link|skip|ignor' added.txt || true)
[[ $files == 1 && $said == 0 && $status == *"up to date"* ]] || { echo "DVC behaves differently now" >&2; cat added.txt; exit 1; }
