"""A scripted scheduler with workers and tasks: nothing is wrong but what a test puts into it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import system_service_pb2 as system_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from tests.harness.scripted_server import Answer, refuse

VERSION = version("contentgen-grpc")
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


class Deployment:
    """A healthy deployment, except for what a test changes."""

    def __init__(self) -> None:
        self.workers: Sequence[pool_pb.Worker] = [GOOD]
        self.pending = self.due = 0
        self.reasons: Sequence[task_pb2.PendingReason.ValueType] = []
        self.pauses = pool_pb.GetDispatchStatusResponse()
        self.submitted: Sequence[task_pb2.Task] = []
        self.failed: Sequence[task_pb2.Task] = []
        self.entries: Sequence[content_pb.PublishPoolEntry] = []
        self.away: Sequence[str] = []
        self.unknown: Sequence[str] = []
        """Services that it does not have."""
        self.role = ""
        self.system = system_pb.GetSystemResponse()

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
