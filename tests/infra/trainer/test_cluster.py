"""The adapter to the Kubernetes client, on autospecced clients: a call that the client does not have fails.

No API server can run in the tests; what is checked is which calls are made and how answers and errors are read.
"""

from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from infra.trainer.cluster import ClusterTrainJobs, _lines
from infra.trainer.run import ApiUnavailable, JobExists


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> ClusterTrainJobs:
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    objects = create_autospec(client.CustomObjectsApi, instance=True)
    core = create_autospec(client.CoreV1Api, instance=True)
    monkeypatch.setattr(client, "CustomObjectsApi", lambda: objects)
    monkeypatch.setattr(client, "CoreV1Api", lambda: core)
    return ClusterTrainJobs("qure")


def test_creation_goes_to_the_trainers_api(jobs: ClusterTrainJobs) -> None:
    jobs.create({"metadata": {"name": "job"}})
    jobs._objects.create_namespaced_custom_object.assert_called_once_with(
        "trainer.kubeflow.org", "v1alpha1", "qure", "trainjobs", {"metadata": {"name": "job"}}
    )


def test_conflict_is_told_apart(jobs: ClusterTrainJobs) -> None:
    jobs._objects.create_namespaced_custom_object.side_effect = ApiException(status=409, reason="AlreadyExists")
    with pytest.raises(JobExists):
        jobs.create({})


@pytest.mark.parametrize("status", [0, 408, 429, 500, 503])
def test_what_may_pass_by_itself_is_unavailable(jobs: ClusterTrainJobs, status: int) -> None:
    jobs._objects.get_namespaced_custom_object.side_effect = ApiException(status=status)
    with pytest.raises(ApiUnavailable):
        jobs.conditions("job")


def test_a_refusal_is_not_retried(jobs: ClusterTrainJobs) -> None:
    jobs._objects.create_namespaced_custom_object.side_effect = ApiException(status=403, reason="Forbidden")
    with pytest.raises(ApiException):
        jobs.create({})


def test_only_true_conditions_count(jobs: ClusterTrainJobs) -> None:
    jobs._objects.get_namespaced_custom_object.return_value = {
        "status": {
            "conditions": [
                {"type": "Suspended", "status": "False", "message": "resumed"},
                {"type": "Failed", "status": "True", "message": "boom"},
            ]
        }
    }
    assert jobs.conditions("job") == {"Failed": "boom"}


def test_a_job_without_status_has_no_conditions(jobs: ClusterTrainJobs) -> None:
    jobs._objects.get_namespaced_custom_object.return_value = {"metadata": {}}
    assert jobs.conditions("job") == {}


def test_a_missing_job_is_none_and_can_be_deleted(jobs: ClusterTrainJobs) -> None:
    jobs._objects.get_namespaced_custom_object.side_effect = ApiException(status=404)
    jobs._objects.delete_namespaced_custom_object.side_effect = ApiException(status=404)
    assert jobs.conditions("job") is None
    jobs.delete("job")


def test_pods_that_have_not_started_have_no_logs_yet(jobs: ClusterTrainJobs) -> None:
    def pod(name: str, phase: str) -> SimpleNamespace:
        return SimpleNamespace(metadata=SimpleNamespace(name=name), status=SimpleNamespace(phase=phase))

    jobs._core.list_namespaced_pod.return_value = SimpleNamespace(
        items=[pod("a", "Pending"), pod("b", "Running"), pod("c", "Succeeded")]
    )
    assert jobs.pods("job") == {"b": True, "c": False}
    selector = jobs._core.list_namespaced_pod.call_args.kwargs["label_selector"]
    assert "jobset.sigs.k8s.io/jobset-name=job" in selector


def test_log_lines_are_whole_however_the_stream_is_cut(jobs: ClusterTrainJobs) -> None:
    text = "erste Zeile ä\nzweite\n\nletzte".encode()
    for size in range(1, len(text) + 1):
        chunks = (text[start : start + size] for start in range(0, len(text), size))
        assert list(_lines(chunks)) == ["erste Zeile ä", "zweite", "", "letzte"]
    jobs._core.read_namespaced_pod_log.return_value = SimpleNamespace(stream=lambda amt: iter([b"one\ntw", b"o\n"]))
    assert list(jobs.follow("node-0")) == ["one", "two"]
