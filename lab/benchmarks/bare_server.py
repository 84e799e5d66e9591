"""A bare grpc.aio server: SubmitTask answered with the task as it came, nothing stored. What gRPC itself costs here."""

from __future__ import annotations

import argparse

import grpc
from grpc import aio

from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from lab.benchmarks import child


async def _echo(request: pb.SubmitTaskRequest, _context: object) -> pb.SubmitTaskResponse:
    task = task_pb2.Task(topic=request.topic, keywords=request.keywords, requirements=request.requirements)
    return pb.SubmitTaskResponse(task=task)


async def _main() -> None:
    stdin = await child.stdin_reader()
    server = aio.server()
    submit = grpc.unary_unary_rpc_method_handler(
        _echo, pb.SubmitTaskRequest.FromString, pb.SubmitTaskResponse.SerializeToString
    )
    service = pb.DESCRIPTOR.services_by_name["TaskService"].full_name
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"SubmitTask": submit})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    child.say(target=f"127.0.0.1:{port}")
    await stdin.read()
    await server.stop(None)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    child.run(_main())
