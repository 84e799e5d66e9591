"""Real servers whose RPCs answer as a test says."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from contentgen.rpcs import SERVICES as CONTRACT
from tests.harness.waiting import PATIENCE_S

# A real server whose RPCs answer as a test says: for what no scheduler does on demand.


Answer = Callable[[Any, grpc.ServicerContext], Any]
"""Returns a message, or its bytes, right or wrong; of a streaming RPC an iterator of those."""
SERVICES: list[ServiceDescriptor] = [service for name, service in CONTRACT.items() if name != "WorkerService"]
"""Those of clients and operators; no two RPCs of them have one name."""
THREADS = 8
THREAD_NAME = "scripted"
# Each port serves once in a process: channels of one process share their connections, so a channel that an earlier test
# left to a server that is gone would fail the calls of the next server's clients. Nobody else takes ports from here.
_PORTS = iter(random.sample(range(10_000, 20_000), 10_000))


def refuse(
    context: grpc.ServicerContext, code: grpc.StatusCode, reason: str, message: str, *more: Message, **metadata: str
) -> None:
    """Ends the call as the scheduler would, with `more` details; without a reason as gRPC itself would."""
    if not reason:
        context.abort(code, message)
    status = Status(code=code.value[0], message=message)
    for detail in (ErrorInfo(reason=reason, domain="contentgen", metadata=metadata), *more):
        status.details.add().Pack(detail)
    context.abort_with_status(rpc_status.to_status(status))


@contextlib.contextmanager
def scripted(
    credentials: grpc.ServerCredentials | None = None, threads: int = THREADS, /, **answers: Answer
) -> Iterator[str]:
    """Yields the address of a server with these RPCs, and no others, by their names; plaintext without `credentials`.

    It serves `threads` calls at once; at the end all of them have ended.
    """
    with ThreadPoolExecutor(threads, THREAD_NAME) as executor:
        server = grpc.server(executor, _handlers(answers), options=[("grpc.so_reuseport", 0)])
        address = _listen(server, credentials)
        server.start()
        try:
            yield address
        finally:
            server.stop(None).wait()


def _listen(server: grpc.Server, credentials: grpc.ServerCredentials | None) -> str:
    for port in _PORTS:
        address = f"127.0.0.1:{port}"
        with contextlib.suppress(RuntimeError):  # somebody listens there
            server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
            return address
    raise AssertionError("this process has started too many servers")


def _handlers(answers: dict[str, Answer]) -> list[grpc.GenericRpcHandler]:
    health: Any = health_pb2.DESCRIPTOR.services_by_name["Health"]
    return [
        grpc.method_handlers_generic_handler(
            service.full_name,
            {
                method.name: _handler(method, answers[method.name])
                for method in service.methods
                if method.name in answers
            },
        )
        for service in (*SERVICES, health)
    ]


def _handler(method: MethodDescriptor, answer: Answer) -> grpc.RpcMethodHandler[Any, Any]:
    read = GetMessageClass(method.input_type).FromString
    if method.client_streaming:
        return grpc.stream_unary_rpc_method_handler(lambda parts, context: answer(next(parts), context), read, _bytes)
    shape = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    return shape(answer, read, _bytes)


def _bytes(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()


# Messages with something in every field.


def fields(message: type[Message]) -> list[FieldDescriptor]:
    descriptors: Any = message.DESCRIPTOR.fields  # upb's class is as good
    return list(descriptors)


def filled(message: type[Message], *only: FieldDescriptor) -> Any:
    """Fills every field, or one, with a value other than the default."""
    instance = message()
    for descriptor in only or fields(message):
        if descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
            entry = filled(GetMessageClass(descriptor.message_type))
            getattr(instance, descriptor.name)[entry.key] = entry.value
        elif descriptor.is_repeated:
            getattr(instance, descriptor.name).append(_value(descriptor))
        elif descriptor.message_type is not None:
            getattr(instance, descriptor.name).CopyFrom(_value(descriptor))
        else:
            setattr(instance, descriptor.name, _value(descriptor))
    return instance


def _value(of: FieldDescriptor) -> Any:
    if of.message_type is not None:
        return filled(GetMessageClass(of.message_type))
    if of.enum_type is not None:
        return of.enum_type.values[1].number
    return {FieldDescriptor.CPPTYPE_STRING: "text", FieldDescriptor.CPPTYPE_BOOL: True}.get(of.cpp_type, 7)


# Services whose answers are scripts, step by step: schedulers that are away, newer, slow or wrong on demand.


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
        refuse(context, self.code, "" if self.details else self.reason, self.message, *self.more, **self.metadata)


AWAY = Refused(grpc.StatusCode.UNAVAILABLE, "the scheduler is away")


class Silence:
    """A step that does not answer until the caller is gone."""


SILENCE = Silence()


@dataclass(frozen=True)
class Until:
    """A step of a stream that waits for an event of the test."""

    event: threading.Event


Step = Message | bytes | Refused | Silence | Until


@dataclass(frozen=True)
class Call:
    """A request, and its deadline in seconds."""

    request: Any
    metadata: dict[str, Any]
    limit: float


class ScriptedServices:
    """All services: each call of a method takes its next step; for a stream that is a list of steps. Thread-safe."""

    def __init__(self) -> None:
        self.target = ""
        self._lock = threading.Lock()
        self._scripts: dict[str, deque[Any]] = defaultdict(deque)
        self._calls: dict[str, list[Call]] = defaultdict(list)
        self._open = 0

    def will(self, method: str, *steps: Step | Sequence[Step]) -> None:
        """Sets the steps of the next calls of `method`; a call without a step fails."""
        self._scripts[method].extend(steps)

    def start_over(self) -> None:
        self._scripts.clear()
        self._calls.clear()

    def calls(self, method: str) -> list[Call]:
        with self._lock:
            return list(self._calls[method])

    def requests(self, method: str) -> list[Any]:
        return [call.request for call in self.calls(method)]

    @property
    def open_calls(self) -> int:
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

    def answers(self) -> dict[str, Answer]:
        """Returns how each RPC answers, by name."""
        return {
            method.name: partial(self._stream if method.server_streaming else self._unary, method.name)
            for service in SERVICES
            for method in service.methods
        }

    def _unary(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        step, gone = self._begin(method, request, context)
        return self._take(step, gone, context)

    def _stream(self, method: str, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        steps, gone = self._begin(method, request, context)
        if steps and not isinstance(steps[0], Refused):
            context.send_initial_metadata(())
        for step in steps if steps is not None else [None]:
            if isinstance(step, Until):
                step.event.wait(PATIENCE_S)
                continue
            yield self._take(step, gone, context)


@contextmanager
def scripted_services(
    threads: int = THREADS, credentials: grpc.ServerCredentials | None = None
) -> Iterator[ScriptedServices]:
    """Serves `threads` calls at once, in plaintext or TLS; at the end all of them have ended."""
    services = ScriptedServices()
    with scripted(credentials, threads, **services.answers()) as services.target:
        yield services
