"""What runs need to be there: the experiment, the pipeline, its version. Each is found before it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipelines.client.connection import Api, all_pages, equals, only
from pipelines.versions import Upload, upload_of


@dataclass(frozen=True)
class Version:
    """An uploaded pipeline version.

    Attributes:
        pipeline_id, version_id: Kubeflow's.
        digest: of the compiled file; the version's name ends with it.
    """

    pipeline_id: str
    version_id: str
    digest: str


def upload(api: Api, package: Path) -> Version:
    """The version of a compiled pipeline, uploaded where it is not there: `PipelinesService.upload`."""
    told = upload_of(package)
    own = _pipeline(api, told.pipeline, api.namespace)
    shared = _pipeline(api, told.pipeline, None) if api.namespace else None
    for pipeline in (own, shared):
        found = _version(api, pipeline, told) if pipeline else None
        if pipeline and found:
            return Version(pipeline, found, told.digest)
    pipeline_id = own or _made(
        lambda: _new_pipeline(api, told),
        lambda: _pipeline(api, told.pipeline, api.namespace),
    )
    version_id = _made(
        lambda: str(
            api.uploads.upload_pipeline_version(
                str(package), name=told.version, pipelineid=pipeline_id, description=told.change
            ).pipeline_version_id
        ),
        lambda: _version(api, pipeline_id, told),
    )
    return Version(pipeline_id, version_id, told.digest)


def experiment_id(api: Api, name: str) -> str:
    """The experiment's id; it is made when it does not exist, by whoever comes first.

    Raises:
        BadInput: there are several of this name.
    """
    import kfp_server_api

    def existing() -> str | None:
        found = all_pages(
            api.experiments.experiment_service_list_experiments,
            "experiments",
            filter=equals("display_name", name),
            namespace=api.namespace,
        )
        if not found:
            return None
        remedy = "Delete or rename all but one, or set service.experiment to another name"
        return str(only(found, f"experiments named {name!r}", "experiment_id", remedy).experiment_id)

    def new() -> str:
        wanted = kfp_server_api.V2beta1Experiment(display_name=name, **_in_namespace(api))
        return str(api.experiments.experiment_service_create_experiment(wanted).experiment_id)

    return existing() or _made(new, existing)


def _pipeline(api: Api, name: str, namespace: str | None) -> str | None:
    found = all_pages(
        api.pipelines.pipeline_service_list_pipelines,
        "pipelines",
        filter=equals("display_name", name),
        namespace=namespace,
    )
    if not found:
        return None
    return str(only(found, f"pipelines named {name!r}", "pipeline_id", "Delete or rename all but one").pipeline_id)


def _new_pipeline(api: Api, told: Upload) -> str:
    """A pipeline without a version: an upload would make one of its own, named like the pipeline."""
    import kfp_server_api

    wanted = kfp_server_api.V2beta1Pipeline(display_name=told.pipeline, description=told.about, **_in_namespace(api))
    return str(api.pipelines.pipeline_service_create_pipeline(wanted).pipeline_id)


def _version(api: Api, pipeline_id: str, told: Upload) -> str | None:
    found = all_pages(
        lambda **query: api.pipelines.pipeline_service_list_pipeline_versions(pipeline_id, **query),
        "pipeline_versions",
        wanted=lambda one: told.is_version(one.display_name or one.name),
        most=1,
    )
    return str(found[0].pipeline_version_id) if found else None


def _in_namespace(api: Api) -> dict[str, str]:
    return {"namespace": api.namespace} if api.namespace else {}


def _made(make: Callable[[], str], find: Callable[[], str | None]) -> str:
    """Makes something, or finds it where another process was quicker."""
    from kfp_server_api.exceptions import ApiException

    try:
        return make()
    except ApiException as error:
        found = find() if error.status == 409 else None
        if found is None:
            raise
        return found
