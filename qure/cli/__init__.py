"""`qure ...`: one command per stage, and the few things people do by hand.

Each command reads params.yaml, calls one library function (`qure/<package>/stage.py`) and exits
0 (ok), 1 (the stage failed) or 2 (bad input). Heavy libraries are imported inside the commands, so
that `qure --help` answers at once.

application.py   the application and its global options; errors.py: how errors end a command
options.py       options that commands share, and settings
pipelines.py     `qure-pipelines`: leads to a checkout's pipelines/
data.py          bring data into place, compare it
stages.py        the stages that `dvc repro` runs, in their order
models.py        weights, the registry, asking the champion, the index of a gallery
lineage.py       where a registered model comes from, making it again
demo.py          everything at once, told to a person who watches
evaluation.py    judge embeddings, ablate, reports, results
studio.py        the page for people, surveys, labels
"""

from qure.environment import naming_damage

with naming_damage():
    from qure.cli import data, demo, evaluation, lineage, models, stages, studio
    from qure.cli.application import Commands, app

__all__ = ["Commands", "app", "data", "demo", "evaluation", "lineage", "models", "stages", "studio"]
