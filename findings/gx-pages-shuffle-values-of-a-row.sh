#!/usr/bin/env bash
# Data Docs show the values of a bad row in another order in every process, without saying which value is of which column.
#
# Valid input: a table of triplets, an expectation about three columns together, and a result format with the column that
# names the bad rows. Seen with Great Expectations 1.24.1: the result is the same each time, but the page's cell
# "Unexpected Value" holds the three values in the order of a Python set of the columns' names, which hashing decides anew
# in every process, and not in the order in which the expectation lists them. A reader takes a reference for a target, and
# whoever keeps pages by their content (DVC, a digest in a report) sees a change where nothing has changed. With
# PYTHONHASHSEED fixed the order stays, so a test suite that fixes it never shows this.
#
# Exit 0: as described. Exit 1: it is different now.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3.11}" -m venv env
env/bin/pip install --quiet --disable-pip-version-check great_expectations==1.24.1 pandas==2.3.3 2>/dev/null

cat >page.py <<'PYTHON'
import hashlib
import json
import os
import re

os.environ["GX_ANALYTICS_ENABLED"] = "false"
import great_expectations as gx
import great_expectations.expectations as gxe
import pandas
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

table = pandas.DataFrame(
    {
        "row": [0, 1, 2],
        "reference": ["dress-1", "dress-1", "dress-2"],
        "target": ["dress-3", "dress-3", "dress-4"],
        "caption": ["is blue", "is blue", "is longer"],
    }
)
rule = gxe.ExpectCompoundColumnsToBeUnique(column_list=["reference", "target", "caption"])
batch = gx.get_context(mode="ephemeral").data_sources.add_pandas("shop").add_dataframe_asset("triplets")
batch = batch.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
validation = batch.validate(
    gx.ExpectationSuite(name="triplets", expectations=[rule]),
    result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]},
)
(result,) = validation.results
found = json.dumps(result.result["unexpected_index_list"], sort_keys=True, default=str)
page = DefaultJinjaPageView().render(ValidationResultsPageRenderer(run_info_at_end=True).render(validation))
shown = re.search(r"\([^()]*dress-1[^()]*\)", page)
print(hashlib.sha256(found.encode()).hexdigest()[:12], shown.group().replace("&#39;", "'") if shown else "nothing")
PYTHON
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do env/bin/python page.py 2>/dev/null; done >free.txt
for _ in 1 2 3; do PYTHONHASHSEED=0 env/bin/python page.py 2>/dev/null; done >fixed.txt
results=$(cut -d' ' -f1 free.txt | sort -u | wc -l) orders=$(cut -d' ' -f2- free.txt | sort | uniq -c)
echo "Great Expectations 1.24.1, reference, target, caption; twelve processes, $results result; what its page shows:"
echo "$orders"
[[ $results == 1 && $(wc -l <<<"$orders") -gt 1 && $(sort -u fixed.txt | wc -l) == 1 ]] &&
  grep -q "dress-1" free.txt || { echo "it is different now" >&2; exit 1; }
