"""A stand-in for the Kubernetes API with a TrainJob controller's answers as recorded, over real HTTP.

TrainJobs are kept as they are posted, with the metadata and status that Trainer 2.2.1 gave (recordings/); a test
moves a job from one recorded status to the next. Pods, events, logs and Workflows are what the test puts there.
Refusals have the API server's Status objects. A request for anything else is a 404 that the test sees in `unknown`.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

RECORDINGS = Path(__file__).parent / "recordings"
JOBS = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/(?P<namespace>[^/]+)/trainjobs(/(?P<name>[^/]+))?")
WORKFLOWS = re.compile(r"/apis/argoproj\.io/v1alpha1/namespaces/(?P<namespace>[^/]+)/workflows")
PODS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods")
LOG = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/pods/(?P<name>[^/]+)/log")
CLAIM = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/persistentvolumeclaims/(?P<name>[^/]+)")
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
EVENTS = re.compile(r"/api/v1/namespaces/(?P<namespace>[^/]+)/events")


def recorded(name: str) -> dict[str, Any]:
    """Metadata and status of a recorded TrainJob."""
    found: dict[str, Any] = json.loads((RECORDINGS / "train-jobs.json").read_text())[name]
    return found


class ClusterApi:
    """State of the cluster; `fail` holds answers to give instead: (method, part of the path) -> (status, message)."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.workflows: list[dict[str, Any]] = []
        self.pods: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.logs: dict[tuple[str, bool], list[bytes]] = {}
        self.fail: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self.deletions: list[tuple[str, str]] = []
        self.unknown: list[str] = []
        self.trainer = True
        self.status_of_new = "created"
        self.claims: dict[str, str] = {}
        self.reviews: list[dict[str, Any]] = []
        self.denied: set[tuple[str, str]] = set()
        self.lock = threading.Lock()

    def put_status(self, name: str, recording: str) -> None:
        """Moves a job to a recorded status."""
        with self.lock:
            self.jobs[name]["status"] = recorded(recording).get("status", {})

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        for (verb, part), answers in self.fail.items():
            if verb == method and part in path and answers:
                status, message = answers.pop(0) if len(answers) > 1 else answers[0]
                if status:
                    return refusal(status, message)
        if match := JOBS.fullmatch(path):
            if not self.trainer:
                return 404, "404 page not found\n"
            return self._jobs(method, match["name"], query, body)
        if method == "GET" and WORKFLOWS.fullmatch(path):
            return 200, {"items": selected(self.workflows, query)}
        if method == "GET" and PODS.fullmatch(path):
            return 200, {"items": selected(self.pods, query)}
        if method == "GET" and EVENTS.fullmatch(path):
            assert query["fieldSelector"] == "type=Warning"
            return 200, {"items": [one for one in self.events if one["type"] == "Warning"]}
        if method == "GET" and (match := LOG.fullmatch(path)):
            assert query["container"] in ("node", "main")
            chunks = self.logs.get((match["name"], query.get("previous") == "True"))
            if chunks is None:
                return refusal(400, f'previous terminated container "node" in pod "{match["name"]}" not found')
            return 200, b"".join(chunks)
        if method == "GET" and (match := CLAIM.fullmatch(path)):
            if match["name"] not in self.claims:
                return refusal(404, f'persistentvolumeclaims "{match["name"]}" not found')
            status = {"phase": self.claims[match["name"]]}
            return 200, {"metadata": {"name": match["name"]}, "spec": {"accessModes": ["RWX"]}, "status": status}
        if method == "POST" and path == REVIEWS:
            asked = body["spec"]["resourceAttributes"]
            self.reviews.append(asked)
            allowed = (asked["verb"], asked["resource"]) not in self.denied
            return 201, {"spec": body["spec"], "status": {"allowed": allowed}}
        self.unknown.append(f"{method} {path}")
        return 404, "404 page not found\n"

    def _jobs(self, method: str, name: str | None, query: dict[str, str], body: Any) -> tuple[int, Any]:
        with self.lock:
            if method == "POST":
                name = body["metadata"]["name"]
                if name in self.jobs:
                    return refusal(409, f'trainjobs.trainer.kubeflow.org "{name}" already exists')
                given = recorded("created")["metadata"]
                body["metadata"] = {key: given[key] for key in ("creationTimestamp", "uid")} | body["metadata"]
                self.jobs[name] = body | {"status": recorded(self.status_of_new).get("status", {})}
                return 201, body
            if method == "GET" and name is None:
                return 200, {"items": selected(list(self.jobs.values()), query)}
            if name not in self.jobs:
                return refusal(404, f'trainjobs.trainer.kubeflow.org "{name}" not found')
            if method == "DELETE":
                self.deletions.append(
                    (name, query.get("propagationPolicy") or (body or {}).get("propagationPolicy", ""))
                )
                return 200, self.jobs.pop(name)
            return 200, self.jobs[name]


def selected(objects: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    wanted = dict(one.split("=", 1) for one in query.get("labelSelector", "").split(",") if one)
    return [one for one in objects if wanted.items() <= one["metadata"].get("labels", {}).items()]


def refusal(status: int, message: str) -> tuple[int, Any]:
    return status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}


@contextmanager
def serve(cluster: ClusterApi) -> Iterator[str]:
    """The API on a port of this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            status, answer = cluster.answer(self.command, parts.path, query, body)
            data = answer if isinstance(answer, bytes) else answer.encode() if isinstance(answer, str) else None
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if data is None else "text/plain")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode() if data is None else data)

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
