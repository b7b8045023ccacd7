"""The adapter with the real Kubernetes client, over HTTP, against a real Trainer's recorded answers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra.trainer.api import ApiUnavailable, JobExists, JobInTheWay
from infra.trainer.cluster import ClusterTrainJobs, _lines
from infra.trainer.job import TrainJobSettings, build_train_job
from qure.errors import BadInput

RUN = "9523e389-cba0-43a9-a4a1-94b03aa5c57f"
OTHER = "11111111-0000-4000-8000-000000000000"
RECORDINGS = Path(__file__).parent / "recordings"


def job(command: str = "train", run: str = RUN, owner: dict[str, Any] | None = None) -> dict[str, Any]:
    settings = TrainJobSettings(image="qure@sha256:" + "0" * 64, workspace_claim="w")
    return build_train_job(settings, "job", [command], run=run, owner=owner)


def workflow(**status: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDINGS / "workflow.json").read_text())
    found["status"] |= status
    return found


def test_a_job_is_made_in_the_tasks_own_namespace_and_owned_by_its_workflow(
    cluster: Any, jobs: ClusterTrainJobs
) -> None:
    cluster.workflows = [workflow(phase="Running")]
    owner = jobs.owner(RUN)
    assert owner == {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "name": "probe-exit-bad-f4nhd",
        "uid": "e2818e0a-3b54-4531-8092-aacc37c9e120",
    }
    jobs.create(job(owner=owner))
    made = cluster.jobs["job"]["metadata"]
    assert made["ownerReferences"] == [owner]
    assert made["labels"]["qure/run-id"] == RUN
    assert jobs.namespace == "kubeflow"


def test_without_a_workflow_or_the_right_to_see_it_nothing_owns_the_job(
    cluster: Any, jobs: ClusterTrainJobs, caplog: pytest.LogCaptureFixture
) -> None:
    assert jobs.owner(RUN) is None
    cluster.fail["GET", "/workflows"] = [(403, 'workflows.argoproj.io is forbidden: User "x" cannot list resource')]
    assert jobs.owner(RUN) is None
    assert "nothing owns" in caplog.text
    assert "cannot be read" in caplog.text


def test_an_owner_in_another_namespace_would_have_the_job_removed_at_once(cluster: Any) -> None:
    cluster.workflows = [workflow()]
    assert ClusterTrainJobs("elsewhere").owner(RUN) is None


def test_the_same_manifest_can_be_adopted(jobs: ClusterTrainJobs) -> None:
    jobs.create(job())
    with pytest.raises(JobExists):
        jobs.create(job(owner={"uid": "of the Workflow made again"}))


def test_a_job_of_this_run_with_another_command_is_stale(jobs: ClusterTrainJobs) -> None:
    jobs.create(job("other"))
    with pytest.raises(JobInTheWay, match="does something else") as raised:
        jobs.create(job())
    assert raised.value.stale


def test_a_job_in_deletion_is_neither_adopted_nor_deleted_again(cluster: Any, jobs: ClusterTrainJobs) -> None:
    jobs.create(job())
    cluster.jobs["job"]["metadata"]["deletionTimestamp"] = "2026-11-27T09:00:00Z"
    with pytest.raises(JobInTheWay, match="being deleted") as raised:
        jobs.create(job())
    assert not raised.value.stale
    assert not raised.value.busy


@pytest.mark.parametrize(
    ("workflows", "stale"), [([], True), ([workflow(phase="Failed")], True), ([workflow(phase="Running")], False)]
)
def test_a_job_of_another_run_is_left_alone_while_that_run_goes_on(
    workflows: list[dict[str, Any]], stale: bool, cluster: Any, jobs: ClusterTrainJobs
) -> None:
    jobs.create(job(run=OTHER))
    for one in workflows:
        one["metadata"]["labels"]["pipeline/runid"] = OTHER
    cluster.workflows = workflows
    with pytest.raises(JobInTheWay, match=OTHER) as raised:
        jobs.create(job())
    assert (raised.value.stale, raised.value.busy) == (stale, not stale)


def test_a_run_that_cannot_be_looked_up_counts_as_going_on(cluster: Any, jobs: ClusterTrainJobs) -> None:
    jobs.create(job(run=OTHER))
    cluster.fail["GET", "/workflows"] = [(403, "workflows.argoproj.io is forbidden")]
    with pytest.raises(JobInTheWay) as raised:
        jobs.create(job())
    assert raised.value.busy


def test_a_job_that_belongs_to_no_run_is_a_persons_matter(jobs: ClusterTrainJobs) -> None:
    jobs.create(job(run=""))
    with pytest.raises(BadInput, match="kubectl --namespace kubeflow delete trainjob job"):
        jobs.create(job())


def test_a_job_that_goes_while_it_is_looked_at_is_asked_for_again(
    cluster: Any, jobs: ClusterTrainJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.create(job())
    monkeypatch.setattr(jobs, "_job", lambda name: None)
    with pytest.raises(ApiUnavailable, match="gone"):
        jobs.create(job())


@pytest.mark.parametrize("status", [401, 408, 429, 500, 503])
def test_what_may_pass_by_itself_is_unavailable(cluster: Any, jobs: ClusterTrainJobs, status: int) -> None:
    """500 is what Trainer's webhook answers while it is down."""
    cluster.fail["POST", "/trainjobs"] = [(status, "webhook is away")]
    with pytest.raises(ApiUnavailable):
        jobs.create(job())


def test_an_api_that_cannot_be_reached_is_unavailable(cluster: Any, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9", file.read_text()))
    with pytest.raises(ApiUnavailable, match="refused"):
        ClusterTrainJobs().conditions("job")


def test_a_refusal_of_the_webhook_is_one_line(cluster: Any, jobs: ClusterTrainJobs) -> None:
    message = (
        'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: spec.RuntimeRef: Invalid '
        'value:\n{"name":"nothing"}: ClusterTrainingRuntime.trainer.kubeflow.org "nothing" not found'
    )
    cluster.fail["POST", "/trainjobs"] = [(403, message)]
    with pytest.raises(BadInput, match='"nothing" not found') as raised:
        jobs.create(job())
    assert "\n" not in str(raised.value)


def test_a_missing_right_names_the_role(cluster: Any, jobs: ClusterTrainJobs) -> None:
    text = 'trainjobs.trainer.kubeflow.org is forbidden: User "system:serviceaccount:a:b" cannot create resource'
    cluster.fail["POST", "/trainjobs"] = [(403, text)]
    with pytest.raises(BadInput, match="qure-pipelines install"):
        jobs.create(job())


def test_a_trainer_that_is_not_installed_is_said(cluster: Any, jobs: ClusterTrainJobs) -> None:
    cluster.trainer = False
    with pytest.raises(BadInput, match="Install Kubeflow Trainer"):
        jobs.create(job())
    assert jobs.of_run(RUN) == []


def test_a_namespace_that_is_not_there_is_not_a_missing_trainer(cluster: Any, jobs: ClusterTrainJobs) -> None:
    cluster.fail["POST", "/trainjobs"] = [(404, 'namespaces "elsewhere" not found')]
    with pytest.raises(BadInput, match=r"distributed\.namespace.*elsewhere"):
        jobs.create(job())


@pytest.mark.parametrize(
    ("recording", "conditions"),
    [
        ("created", {}),
        ("running", {}),
        ("unschedulable", {}),
        ("image-cannot-be-pulled", {}),
        ("waiting-config-error", {}),
        ("suspended-at-creation", {"Suspended": "TrainJob is suspended"}),
        ("resumed-running", {}),
        ("complete", {"Complete": "jobset completed successfully"}),
        ("deadline-exceeded", {"Failed": "TrainJob exceeded its active deadline"}),
        (
            "failed-worker-exit-1",
            {"Failed": "jobset failed due to one or more job failures (first failed job: t-fail2-node-0)"},
        ),
    ],
)
def test_conditions_are_read_as_trainer_gives_them(
    recording: str, conditions: dict[str, str], cluster: Any, jobs: ClusterTrainJobs
) -> None:
    jobs.create(job())
    cluster.put_status("job", recording)
    assert jobs.conditions("job") == conditions


def test_a_missing_job_is_none_and_can_be_deleted(jobs: ClusterTrainJobs) -> None:
    assert jobs.conditions("job") is None
    jobs.delete("job")


def test_deletion_is_in_the_background(cluster: Any, jobs: ClusterTrainJobs) -> None:
    """In the foreground the JobSet goes first, and Trainer makes it anew: its pods trained on for 30 s."""
    jobs.create(job())
    jobs.delete("job")
    assert cluster.deletions == [("job", "Background")]


def event(reason: str, message: str, concerned: str, at: str = "2026-11-27T09:10:00Z", **more: Any) -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "involvedObject": {"name": concerned},
        "lastTimestamp": at,
    } | more


def test_only_this_jobs_events_count(cluster: Any, jobs: ClusterTrainJobs) -> None:
    jobs.create(job())  # recorded as made at 09:09:43
    jobs.conditions("job")
    message = (
        'pods "job-node-0-0-" is forbidden: error looking up service account kubeflow/x: serviceaccount "x" not found'
    )
    cluster.events = [
        event("FailedCreate", message, "job-node-0"),
        event("FailedCreate", "an older job's", "job-node-0", at="2026-11-27T09:09:42Z"),
        event("FailedCreate", "another job's", "job-2-node-0"),
        event("FailedMount", "volume is attached elsewhere", "job-node-0-1-abcde"),
        event(
            "FailedMount", "of a series", "job-node-0-0-x", None, series={"lastObservedTime": "2026-11-27T09:11:00.5Z"}
        ),
        event("BackOff", "told by the pod itself", "job-node-0-0-abcde"),
    ]
    found = jobs.problems("job", pods_missing=True)
    assert [(one.text, one.hopeless) for one in found] == [
        (f"no pod can be made: {message}", True),
        ("FailedMount: volume is attached elsewhere", False),
        ("FailedMount: of a series", False),
    ]
    assert len(jobs.problems("job", pods_missing=False)) == 2, "all pods are there: none is kept from being made"


def test_events_that_may_not_be_read_do_not_end_a_training(cluster: Any, jobs: ClusterTrainJobs) -> None:
    cluster.fail["GET", "/events"] = [(403, 'events is forbidden: User "x" cannot list resource "events"')]
    (problem,) = jobs.problems("job", pods_missing=True)
    assert not problem.hopeless
    assert "events is forbidden" in problem.text


def test_pods_of_the_job_alone_are_looked_at(cluster: Any, jobs: ClusterTrainJobs) -> None:
    def pod(name: str, of: str, **state: Any) -> dict[str, Any]:
        labels = {"jobset.sigs.k8s.io/jobset-name": of, "jobset.sigs.k8s.io/replicatedjob-name": "node"}
        statuses = [{"name": "node", "restartCount": 2, "state": state}]
        return {"metadata": {"name": name, "labels": labels}, "status": {"containerStatuses": statuses}}

    cluster.pods = [pod("a", "job", running={}), pod("b", "other", running={})]
    assert [(one.pod, one.start, one.running) for one in jobs.pods("job")] == [("a", 2, True)]


def test_logs_of_the_present_start_and_the_one_before(cluster: Any, jobs: ClusterTrainJobs) -> None:
    cluster.logs = {("node-0", False): [b"one\ntw", b"o\n"], ("node-0", True): [b"before\n"]}
    assert list(jobs.follow("node-0")) == ["one", "two"]
    assert list(jobs.follow("node-0", previous=True)) == ["before"]
    with pytest.raises(BadInput, match="previous terminated container"):
        list(jobs.follow("node-1", previous=True))


def test_log_lines_are_whole_however_the_stream_is_cut() -> None:
    text = "erste Zeile ä\nzweite\n\nletzte".encode()
    for size in range(1, len(text) + 1):
        chunks = (text[start : start + size] for start in range(0, len(text), size))
        assert list(_lines(chunks)) == ["erste Zeile ä", "zweite", "", "letzte"]


def test_no_credentials_are_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(BadInput, match="no credentials for the cluster") as refusal:
        ClusterTrainJobs()
    assert "automountServiceAccountToken" in str(refusal.value)


@pytest.mark.parametrize(("text", "namespace"), [("team-a\n", "team-a"), (None, "default")])
def test_a_pod_works_in_its_own_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, namespace: str
) -> None:
    if text is not None:
        (tmp_path / "namespace").write_text(text)
    monkeypatch.setattr("kubernetes.config.load_incluster_config", lambda: None)
    monkeypatch.setattr("infra.trainer.cluster._NAMESPACE_FILE", tmp_path / "namespace")
    assert ClusterTrainJobs().namespace == namespace
    assert ClusterTrainJobs("team-b").namespace == "team-b"


def test_the_log_of_a_pod_that_is_gone_is_empty(cluster: Any, jobs: ClusterTrainJobs) -> None:
    cluster.fail["GET", "/log"] = [(404, "pods not found")]
    assert list(jobs.follow("gone")) == []
