"""Names of the tags that qure and MLflow keep at runs."""

PIPELINE, ROLE, STAGE, TRAINING_SET, RUN_KEY = (
    "qure.pipeline_run",
    "qure.role",
    "qure.stage",
    "qure.training_set",
    "qure.run_key",
)
COMMIT, ERROR, DATA = "qure.commit", "qure.error", "qure.data_fingerprint"
#: A pipeline run's name as qure has given it: another one is a person's, and stays.
GIVEN_NAME, TRAINING_SETS = "qure.name", "qure.training_sets"
PARENT, RUN_NAME, GIT_COMMIT = "mlflow.parentRunId", "mlflow.runName", "mlflow.source.git.commit"
