"""A real server whose RPCs answer as a test says: for what no scheduler does on demand."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2
from grpc_status import rpc_status

from contentgen.rpcs import SERVICES as CONTRACT

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
    context: grpc.ServicerContext,
    code: grpc.StatusCode,
    reason: str,
    message: str,
    *more: Message,
    **metadata: str,
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
    """The address of a server with these RPCs, and no others, by their names; plaintext without `credentials`.

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
    shape = grpc.unary_stream_rpc_method_handler if method.server_streaming else grpc.unary_unary_rpc_method_handler
    return shape(answer, GetMessageClass(method.input_type).FromString, _bytes)


def _bytes(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
