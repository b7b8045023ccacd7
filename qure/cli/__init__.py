"""`qure ...`: one command per stage, and the few things people do by hand.

Each command reads params.yaml, calls one library function (`qure/<package>/stage.py`) and exits
0 (ok), 1 (the stage failed) or 2 (bad input). Heavy libraries are imported inside the commands, so
that `qure --help` answers at once.

application.py   the application and how errors end it
options.py       options that commands share, and settings
data.py          bring data into place, compare it
stages.py        the stages that `dvc repro` runs, in their order
models.py        weights, the registry, asking the champion
evaluation.py    judge embeddings, ablate, reports, results
"""

from qure.cli import data, evaluation, models, stages
from qure.cli.application import Commands, app

__all__ = ["Commands", "app", "data", "evaluation", "models", "stages"]
