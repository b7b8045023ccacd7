"""What a training set's model is called, and how it becomes champion: told without importing what does it."""


def registered_name(training_set: str) -> str:
    """Name in the registry.

    >>> registered_name("cirr")
    'qure-cirr'
    """
    return f"qure-{training_set}"


def how_to_promote(training_set: str) -> str:
    """What makes a champion, also where DVC takes registering and promoting for done.

    The registry is no output of a stage: when MLflow's database is gone, `dvc repro` does not notice.

    >>> how_to_promote("cirr").split(": ")[1]
    'dvc repro --single-item --force register@cirr promote@cirr'
    """
    return (
        "Run `dvc repro`; or, where that finds nothing to do because the registry is new: "
        f"dvc repro --single-item --force register@{training_set} promote@{training_set}"
    )
