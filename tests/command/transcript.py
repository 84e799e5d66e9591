"""What the command prints, as a transcript that is compared with a golden file; a deployment for it."""

from __future__ import annotations

import io
import re
import shlex
import threading
from asyncio import to_thread
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from difflib import unified_diff
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from typer.core import TyperGroup
from typer.main import get_command

from contentgen.cli.app import PROGRAM, make_app
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import system_service_pb2 as system_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from contentgen.version import own_version
from tests.harness.scripted_server import Answer, refuse

GOLDEN = Path(__file__).with_name("golden")
SCHEDULER = "127.0.0.1:50051"
CLAIM = "claim-01234567-89ab-cdef-0123-456789abcdef"
_PROMPT = f"$ {PROGRAM} "
_STREAMS = threading.Lock()
_TASK = re.compile(r"task-[0-9a-f]{16}")
_SAME: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"lease-[0-9a-f]{16}-[0-9a-f]{8}"), "lease-0000000000000001-01234567"),
    (re.compile(r"claim-[0-9a-f-]{36}"), CLAIM),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "01234567-89ab-cdef-0123-456789abcdef"),
    (re.compile(r"msg_[0-9a-f]{32}"), "msg_0123456789abcdef0123456789abcdef"),
    (re.compile(r"whsec_[\w+/=]+"), "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00"), "2026-01-02T03:04:05.678901+00:00"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "2026-01-02 03:04:05"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b(?!\.)"), "03:04:05"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "0123456789abcdef0123456789abcdef"),
    (re.compile(r"\b\d+ ms\b"), "2 ms"),
    (re.compile(r"\b\d s\b"), "1 s"),
    (re.compile(r"(oldest (?:for|pending) +)[\d.]+ s"), r"\g<1>0.1 s"),
    (re.compile(r"[\d.]+/s"), "0.5/s"),
    (re.compile(r"over [\d.]+ s"), "over 0.2 s"),
    (re.compile(r'("(?:oldest_pending_age|over|submitted|completed|failed)": )\d+\.[\d.e-]+'), r"\g<1>0.5"),
    (re.compile(r'("scheduler_id": )"[^"]+"'), r'\g<1>"host-01234567"'),
    (re.compile(r"(?m)^SCHEDULER +(?=STATE)"), "SCHEDULER      "),
    (re.compile(r"(?m)^\S+-[0-9a-f]{8} +(?=serving)"), "host-01234567  "),
]
"""What differs from run to run, and what stands for it."""


class Ran(NamedTuple):
    """One run of the command."""

    status: int
    out: str
    err: str


@cache
def tree() -> TyperGroup:
    """Returns the command. It is built once, which costs ten times what most runs cost; it keeps nothing of a run."""
    command = get_command(make_app())
    assert isinstance(command, TyperGroup)
    return command


def run(*arguments: str) -> Ran:
    """Runs the command as its entry point does, on standard streams that are no terminal; one at a time."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    status: object = 0
    assert _STREAMS.acquire(blocking=False), "standard streams are the process's, and another run writes to them"
    try:
        with redirect_stdout(out), redirect_stderr(err):
            tree()(args=arguments, prog_name=PROGRAM)
    except SystemExit as error:
        status = error.code
    finally:
        _STREAMS.release()
    assert isinstance(status, int)
    for stream in (out, err):
        stream.seek(0)
    return Ran(status, out.read(), err.read())


class Transcript:
    """Runs of the command one after the other, each with what it printed and its exit status."""

    claim = ""
    """The id of a publisher's claim, for the commands of `play`."""

    def __init__(self, target: str, update: bool) -> None:
        self.target = target
        self._update = update
        self._text = ""
        self._count = 0

    async def __call__(self, *arguments: str) -> Ran:
        """Runs the command in a thread beside the test's event loop, where the scheduler may be."""
        result = await to_thread(run, "--scheduler", self.target, *arguments)
        self._count += 1
        self._text += f"{_PROMPT}{shlex.join(arguments)}\n{result.out}"
        self._text += "".join(f"! {line}\n" for line in result.err.splitlines())
        self._text += f"[{result.status}]\n\n" if result.status else "\n"
        return result

    async def play(self, name: str, count: int | None = None) -> None:
        """Runs the next commands of a golden file, which are its lines that begin with `$`.

        So many of them, or all that are left, and compares then what was printed. Ids become those of this run.
        """
        lines = _golden(name).read_text(encoding="utf-8").splitlines()
        commands = [line.removeprefix(_PROMPT) for line in lines if line.startswith(_PROMPT)]
        left = commands[self._count :]
        assert len(left) >= (count or 1), f"{name} has no more commands"
        for command in left[:count]:
            await self(*shlex.split(self._of_this_run(command)))
        if count is None:
            self.check(name)

    def _of_this_run(self, command: str) -> str:
        ids = dict(enumerate(dict.fromkeys(_TASK.findall(self._text)), 1))
        command = _TASK.sub(lambda match: ids.get(int(match[0].removeprefix("task-"), 16), match[0]), command)
        return command.replace(CLAIM, self.claim or CLAIM)

    def check(self, name: str) -> None:
        """Compares what was printed with the golden file; --update-golden writes that file, which may be new."""
        path = _golden(name)
        text = normalised(self._text.replace(self.target, SCHEDULER))
        if self._update:
            path.write_text(text, encoding="utf-8")
        golden = path.read_text(encoding="utf-8") if path.exists() else ""
        differences = unified_diff(golden.splitlines(), text.splitlines(), path.name, "printed", lineterm="")
        assert text == golden, "\n".join(differences)


def _golden(name: str) -> Path:
    return GOLDEN / f"{name}.txt"


def normalised(text: str) -> str:
    """Returns a text with the n-th task as task n, and one time, one duration and one version for all."""
    ids: dict[str, str] = {}
    text = _TASK.sub(lambda match: ids.setdefault(match[0], f"task-{len(ids) + 1:016x}"), text)
    for pattern, placeholder in _SAME:
        text = pattern.sub(placeholder, text)
    text = text.replace(own_version(), "1.2.3")
    return "\n".join(line.rstrip() for line in text.split("\n"))


# A scripted scheduler with workers and tasks: nothing is wrong but what a test puts into it.


VERSION = own_version()
SERVING = HealthCheckResponse(status=HealthCheckResponse.SERVING)
GOOD = pool_pb.Worker(
    worker_id="w1", version=VERSION, running=True, slots=3, busy_slots=1, creator_version="content-creator 3"
)


def pool(*workers: pool_pb.Worker) -> pool_pb.GetWorkerPoolResponse:
    connected = [worker for worker in workers if worker.running or worker.draining]
    return pool_pb.GetWorkerPoolResponse(num_workers=len(connected), workers=workers)


def worker(**fields: Any) -> pool_pb.Worker:
    """Returns a worker without problems, but for these fields."""
    message = pool_pb.Worker()
    message.CopyFrom(GOOD)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


@dataclass
class Deployment:
    """A healthy deployment, except for what a test gives."""

    workers: Sequence[pool_pb.Worker] = (GOOD,)
    pending: int = 0
    due: int = 0
    reasons: Sequence[task_pb2.PendingReason.ValueType] = ()
    pauses: pool_pb.GetDispatchStatusResponse = field(default_factory=pool_pb.GetDispatchStatusResponse)
    submitted: Sequence[task_pb2.Task] = ()
    failed: Sequence[task_pb2.Task] = ()
    entries: Sequence[content_pb.PublishPoolEntry] = ()
    away: Sequence[str] = ()
    unknown: Sequence[str] = ()
    """Services that it does not have."""
    role: str = ""
    system: system_pb.GetSystemResponse = field(default_factory=system_pb.GetSystemResponse)

    def answers(self) -> dict[str, Answer]:
        return {
            "Check": self._check,
            "UpdateAccount": self._update_account,
            "GetTaskStats": self._stats,
            "GetSystem": lambda request, context: self.system,
            "GetDispatchStatus": lambda request, context: self.pauses,
            "GetWorkerPool": lambda request, context: pool(*self.workers),
            "ListTasks": self._list,
            "GetTask": self._get,
            "ListPublishPool": lambda request, context: content_pb.ListPublishPoolResponse(entries=self.entries),
        }

    def _check(self, request: HealthCheckRequest, context: grpc.ServicerContext) -> HealthCheckResponse:
        if request.service.rpartition(".")[2] in self.unknown:
            context.abort(StatusCode.NOT_FOUND, "unknown service")
        if request.service.rpartition(".")[2] in self.away:
            return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
        return SERVING

    def _update_account(self, request: object, context: grpc.ServicerContext) -> account_pb.UpdateAccountResponse:
        authorization = dict(context.invocation_metadata()).get("authorization")
        if self.role and authorization != "Bearer known":
            refuse(context, StatusCode.UNAUTHENTICATED, "TOKEN_INVALID", "the token is not known")
        if self.role not in {"", "operator"}:
            refuse(context, StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN", "not for this role", role=self.role)
        refuse(context, StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", "account_id: must be 1 or more")
        return account_pb.UpdateAccountResponse()

    def _stats(self, request: object, context: grpc.ServicerContext) -> pb.GetTaskStatsResponse:
        if self.role in {"worker", "publisher", "reviewer"}:
            refuse(context, StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN", "not for this role")
        age = Duration(seconds=3_720) if self.pending else None
        counts = {"pending": self.pending}
        return pb.GetTaskStatsResponse(counts=counts, oldest_pending_age=age, queue_depth=self.due)

    def _list(self, request: pb.ListTasksRequest, context: object) -> pb.ListTasksResponse:
        if list(request.statuses) == [task_pb2.TASK_STATUS_SUBMITTED]:
            return pb.ListTasksResponse(tasks=self.submitted)
        if list(request.statuses) == [task_pb2.TASK_STATUS_FAILED]:
            return pb.ListTasksResponse(tasks=self.failed)
        return pb.ListTasksResponse(tasks=[task_pb2.Task(task_id=f"task-{i}") for i in range(len(self.reasons))])

    def _get(self, request: pb.GetTaskRequest, context: object) -> pb.GetTaskResponse:
        reason = self.reasons[int(request.task_id.removeprefix("task-"))]
        return pb.GetTaskResponse(task=task_pb2.Task(task_id=request.task_id, pending_reason=reason))
