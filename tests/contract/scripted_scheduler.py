"""A server that says what a test wants: a real one on a port of its own, whose answers are scripts.

Scripts stand in for schedulers that are away, newer, slow, or wrong, which no real one is when a test asks.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from contentgen.v1 import (
    account_service_pb2,
    content_service_pb2,
    system_service_pb2,
    task_service_pb2,
    worker_pool_service_pb2,
)

SERVICES = [
    service
    for file in (
        task_service_pb2,
        content_service_pb2,
        account_service_pb2,
        worker_pool_service_pb2,
        system_service_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
]
"""Those of clients and operators; no two RPCs of them have one name."""
THREADS = 8
THREAD_NAME = "scripted"


@dataclass(frozen=True)
class Refused:
    """A step that fails the call; with a reason it carries ErrorInfo."""

    code: grpc.StatusCode
    message: str = "refused"
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    more: Sequence[Message] = ()
    """Further details."""
    details: bytes = b""
    """In place of the status with its details: raw bytes."""

    def abort(self, context: grpc.ServicerContext) -> None:
        """Raises, as `abort` of a context does."""
        if self.details:
            context.set_trailing_metadata((("grpc-status-details-bin", self.details),))
        elif self.reason:
            status = Status(code=self.code.value[0], message=self.message)
            status.details.add().Pack(ErrorInfo(domain="contentgen", reason=self.reason, metadata=self.metadata))
            for each in self.more:
                status.details.add().Pack(each)
            context.abort_with_status(rpc_status.to_status(status))
        context.abort(self.code, self.message)


AWAY = Refused(grpc.StatusCode.UNAVAILABLE, "the scheduler is away")


class Silence:
    """A step that says nothing until the caller is gone."""


SILENCE = Silence()
Step = Message | bytes | Refused | Silence


@dataclass(frozen=True)
class Call:
    """What was asked, and how long the answer might take (seconds)."""

    request: Any
    metadata: dict[str, Any]
    limit: float


class ScriptedScheduler:
    """All services: each call of a method takes its next step; for a stream that is a list of steps. Thread-safe."""

    def __init__(self) -> None:
        self.target = ""
        self._lock = threading.Lock()
        self._scripts: dict[str, deque[Any]] = defaultdict(deque)
        self._calls: dict[str, list[Call]] = defaultdict(list)
        self._open = 0

    def will(self, method: str, *steps: Step | Sequence[Step]) -> None:
        """The next calls of `method` take these; a call without a step fails."""
        self._scripts[method].extend(steps)

    def calls(self, method: str) -> list[Call]:
        with self._lock:
            return list(self._calls[method])

    def requests(self, method: str) -> list[Any]:
        return [call.request for call in self.calls(method)]

    @property
    def open_calls(self) -> int:
        """Calls that have come and neither ended nor been given up."""
        with self._lock:
            return self._open

    def _begin(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        gone = threading.Event()
        with self._lock:
            self._open += 1
            self._calls[method].append(Call(request, dict(context.invocation_metadata()), context.time_remaining()))
            step = self._scripts[method].popleft() if self._scripts[method] else None
        if not context.add_callback(lambda: self._end(gone)):
            self._end(gone)
        return step, gone

    def _end(self, gone: threading.Event) -> None:
        with self._lock:
            self._open -= 1
        gone.set()

    def _take(self, step: Any, gone: threading.Event, context: grpc.ServicerContext) -> Any:
        if isinstance(step, Refused):
            step.abort(context)
        if isinstance(step, Silence):
            gone.wait()
            context.abort(grpc.StatusCode.CANCELLED, "the caller is gone")
        if step is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "the script has no more steps")
        return step

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        return [
            grpc.method_handlers_generic_handler(
                service.full_name, {method.name: self._method(method) for method in service.methods}
            )
            for service in SERVICES
        ]

    def _method(self, method: MethodDescriptor) -> grpc.RpcMethodHandler[Any, Any]:
        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            step, gone = self._begin(method.name, request, context)
            return self._take(step, gone, context)

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            steps, gone = self._begin(method.name, request, context)
            if steps and not isinstance(steps[0], Refused):
                context.send_initial_metadata(())
            for step in steps if steps is not None else [None]:
                yield self._take(step, gone, context)

        read = GetMessageClass(method.input_type).FromString
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(stream, read, _bytes)
        return grpc.unary_unary_rpc_method_handler(unary, read, _bytes)


def _bytes(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


@contextmanager
def scripted_scheduler(
    threads: int = THREADS, credentials: grpc.ServerCredentials | None = None
) -> Iterator[ScriptedScheduler]:
    """One that serves so many calls at once, in plaintext or TLS; all of its calls have ended when it has."""
    scheduler = ScriptedScheduler()
    with ThreadPoolExecutor(threads, THREAD_NAME) as executor:
        server = grpc.server(executor, scheduler.handlers())
        address = "127.0.0.1:0"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        scheduler.target = f"127.0.0.1:{port}"
        try:
            yield scheduler
        finally:
            server.stop(None).wait()
