"""Submits and schedules pipelines; the same name always means one thing, however often a command is given.

Works against the Kubeflow Pipelines API, version 2.17, for one user and for many (namespaces). The address and the
token come from the environment: KF_PIPELINES_ENDPOINT, KF_PIPELINES_TOKEN.
"""

from pipelines.client.connection import ENDPOINT_VARIABLE, TOKEN_VARIABLE
from pipelines.client.service import Done, PipelinesService, Version

__all__ = ["ENDPOINT_VARIABLE", "TOKEN_VARIABLE", "Done", "PipelinesService", "Version"]
