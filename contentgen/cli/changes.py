"""Following tasks, and how long a command is patient with an outage: the client's parts, set up for a terminal.

Layer: inside operators.
"""

from __future__ import annotations

import time

import grpc

from contentgen.cli.connection import Connection
from contentgen.client.changes import STREAM_LIMIT, Changes, EventStream
from contentgen.client.outage import Outage
from contentgen.v1 import task_service_pb2 as pb

PATIENCE = 60.0
"""Seconds without a scheduler before a command that follows tasks gives up; at first, when the address may be wrong, it
gives up at once.
"""


def outage() -> Outage:
    """Of a command."""
    return Outage(PATIENCE, at_first=0.0)


def endure(outage: Outage, error: grpc.RpcError) -> None:
    """Pauses before the next try; raises `error` where it is no outage, or has lasted too long."""
    assert isinstance(error, grpc.Call)
    pause = outage.pause() if error.code() is grpc.StatusCode.UNAVAILABLE else None
    if pause is None:
        raise error
    time.sleep(pause)


def changes(connection: Connection, request: pb.WatchTasksRequest) -> Changes:
    """The present states, then each move once, on whichever replica answers; it does not end by itself."""

    def opened(resume_token: str) -> EventStream:
        request.resume_token = resume_token
        return connection.tasks.WatchTasks(request, timeout=STREAM_LIMIT, metadata=connection.metadata)

    return Changes(opened, outage(), request.resume_token)
