"""A stand-in for the Kubeflow Pipelines API (v2beta1, server 2.17.0), closed to whatever it does not know.

It answers as a real server was recorded to answer (tests/pipelines/recordings, replayed by test_recordings.py): its
messages, codes, defaults and refusals, with and without namespaces. It runs nothing: a test moves runs on with
`start`, `finish`, `settle`, `fire`, `lose` and `collect`.
"""

import json
import random
import re
import string
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qure_tests_kfp_checks import (
    PREFIX,
    ROUTES,
    Refused,
    Route,
    check,
    query_of,
    refuse_output_fields,
    unknown,
    uploaded,
)
from qure_tests_kfp_operations import NEVER, Operations, time_now

__all__ = ["PREFIX", "ROUTES", "PipelinesApi", "Refused", "serve"]


class PipelinesApi(Operations):
    """The stand-in. `refusals` lists what the stand-in alone refused: requests of unknown form.

    Args:
        page_size: most entries of a page, whatever is asked for.
        token: the gateway's; requests without it are 401.
        multi_user: everything lies in namespaces.
        members: namespace -> users who may use it; whoever has the token is "owner" unless a header names another.
        account: service account of runs that name none.
    """

    def __init__(
        self,
        page_size: int = 2,
        token: str | None = None,
        *,
        multi_user: bool = False,
        members: dict[str, set[str]] | None = None,
        account: str = "pipeline-runner",
    ) -> None:
        super().__init__(page_size, multi_user=multi_user, members=members or {"team-a": {"owner"}}, account=account)
        self.requests: list[tuple[str, str, Any]] = []
        self.refusals: list[str] = []
        self.failures: list[tuple[str, int]] = []
        self.token = token
        #: When set, every request is answered with this page, as a proxy does that asks for a login.
        self.login_page: str | None = None
        self._fired = 0
        self._lock = threading.Lock()

    def fail_next(self, handler: str, status: int = 503) -> None:
        """Makes the next call of an operation fail as a server does."""
        self.failures.append((handler, status))

    def start(self, run_id: str) -> None:
        """PENDING -> RUNNING."""
        self.move(run_id, "RUNNING")

    def finish(self, run_id: str, state: str = "SUCCEEDED") -> None:
        """The run's Workflow ends, and that is recorded."""
        self.move(run_id, state)
        self.runs[run_id]["finished_at"] = time_now()

    def settle(self) -> None:
        """What is being stopped has stopped: CANCELING -> FAILED. A run without a Workflow stays CANCELING."""
        for run_id, run in self.runs.items():
            if run["state"] == "CANCELING" and run_id in self.workflows:
                self.finish(run_id, "FAILED")

    def lose(self, run_id: str) -> None:
        """Somebody deletes the run's Workflow: nothing is recorded any more."""
        self.workflows.discard(run_id)

    def collect(self, run_id: str) -> None:
        """The Workflow of a run that is over is removed after its time to live."""
        assert self.runs[run_id]["state"] in ("SUCCEEDED", "FAILED")
        self.workflows.discard(run_id)

    def fire(self, recurring_run_id: str) -> str:
        """The schedule's time has come: a run under a name of the controller's; returns its id."""
        schedule = self.recurring_runs[recurring_run_id]
        self._fired += 1
        short = re.sub(r"[^a-z0-9-]+", "", schedule["display_name"].lower())[:25]
        suffix = "".join(random.choices(string.ascii_lowercase + string.digits, k=5))
        content = {key: schedule[key] for key in ("experiment_id", "pipeline_version_reference", "runtime_config")}
        now = time_now()
        run = content | {
            "run_id": str(uuid.uuid4()),
            "display_name": f"{short}{suffix}-{self._fired}-{random.randrange(10**9, 10**10)}",
            "storage_state": "AVAILABLE",
            "created_at": now,
            "scheduled_at": now,
            "finished_at": NEVER,
            "state": "RUNNING",
            "recurring_run_id": recurring_run_id,
            "state_history": [{"update_time": now, "state": "RUNNING"}],
        }
        self.runs[run["run_id"]] = run
        self.workflows.add(run["run_id"])
        return str(run["run_id"])

    def answer(self, method: str, target: str, headers: Any, content: bytes) -> tuple[int, Any]:
        """One request; the answer's status and JSON."""
        upload = "/pipelines/upload" in target
        with self._lock:
            try:
                return 200, self._dispatch(method, target, headers, content)
            except Refused as error:
                if error.closed:
                    self.refusals.append(f"{method} {target}: {error.message}")
                return error.status, error.body(upload=upload)

    def _dispatch(self, method: str, target: str, headers: Any, content: bytes) -> Any:
        url = urlsplit(target)
        if self.token is not None and headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized")
        self._user = headers.get("kubeflow-userid", "owner") or None
        for route in ROUTES:
            match = route.pattern.fullmatch(url.path)
            if match and route.method == method:
                break
        else:
            raise Refused(404, "Not Found", closed=True)
        for number, (handler, status) in enumerate(self.failures):
            if handler == route.handler:
                del self.failures[number]
                raise Refused(status, "the server is not well")
        arguments = {**match.groupdict(), **query_of(route, parse_qs(url.query, keep_blank_values=True))}
        arguments |= self._content(route, headers, content)
        self.requests.append((route.method, url.path, arguments.get("body")))
        handle: Callable[..., Any] = getattr(self, route.handler)
        return handle(**arguments)

    def _content(self, route: Route, headers: Any, content: bytes) -> dict[str, Any]:
        if route.upload:
            return {"package": uploaded(headers, content)}
        if route.body is not None:
            body = json.loads(content)
            triggers = [name for name in ("cron_schedule", "periodic_schedule") if name in body.get("trigger", {})]
            if len(triggers) == 2:
                kind = "kubeflow.pipelines.backend.api.v2beta1.Trigger.trigger"
                raise Refused(400, f'proto: error parsing "{triggers[1]}", oneof {kind} is already set')
            check(route.body, body)
            refuse_output_fields(route.body, body)
            return {"body": body}
        if content:
            raise unknown("this operation takes no body")
        return {}


@contextmanager
def serve(api: PipelinesApi) -> Iterator[str]:
    """The API on a free port of this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if api.login_page is not None:
                status, body, kind = 200, api.login_page.encode(), "text/html; charset=utf-8"
            else:
                status, value = api.answer(self.command, self.path, self.headers, content)
                body, kind = json.dumps(value).encode(), "application/json"
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _answer

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
