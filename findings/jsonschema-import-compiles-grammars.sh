#!/usr/bin/env bash
# Where rfc3987-syntax is installed, importing jsonschema compiles 39 grammars, and takes seconds.
#
# Valid input: an environment with jsonschema, to which some other package adds jsonschema's extra `format-nongpl`
# (cyclonedx-bom does). Seen with jsonschema 4.26.0, rfc3987-syntax 1.1.0, lark 1.3.1: `import jsonschema` alone then
# builds 39 lark parsers of one grammar, nearly one for every rule of it, whether or not an IRI is ever checked; it takes
# 15 to 20 times as long (2 to 3 s on a 2.5 GHz Xeon), and whatever imports it pays: altair, Great Expectations, kfp's
# compiler.
# Nothing names the cause: the environment grew by a package that nobody uses. Removing rfc3987-syntax alone brings the
# import back; jsonschema leaves out the formats `iri` and `iri-reference` without it, which are checked only by a
# validator that is given a format checker.
#
# Exit 0: as described. Exit 1: it is different now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check jsonschema==4.26.0

cat >look.py <<'PYTHON'
import gc
import sys
import time

begun = time.process_time()
import jsonschema

took = time.process_time() - begun
parsers = 0
if "lark" in sys.modules:
    from lark import Lark

    parsers = sum(isinstance(one, Lark) for one in gc.get_objects())
jsonschema.validate({"colour": "blue"}, {"properties": {"colour": {"type": "string"}}})
print(f"{parsers} {took:.2f}")
PYTHON
env/bin/python look.py >/dev/null # bytecode
read -r parsers_before before < <(env/bin/python look.py)
env/bin/pip install --quiet --disable-pip-version-check 'jsonschema[format-nongpl]==4.26.0' rfc3987-syntax==1.1.0 lark==1.3.1
env/bin/python look.py >/dev/null
read -r parsers_with with < <(env/bin/python look.py)
env/bin/pip uninstall --quiet --yes rfc3987-syntax
read -r parsers_after after < <(env/bin/python look.py)
echo "jsonschema 4.26.0 alone:            $parsers_before parsers built by the import, $before CPU-s"
echo "with rfc3987-syntax 1.1.0 beside it: $parsers_with parsers, $with CPU-s"
echo "with rfc3987-syntax removed again:   $parsers_after parsers, $after CPU-s"
[[ $parsers_before == 0 && $parsers_with == 39 && $parsers_after == 0 ]] &&
  awk -v plain="$before" -v with="$with" 'BEGIN { exit !(with > 5 * plain) }' ||
  { echo "it is different now" >&2; exit 1; }
