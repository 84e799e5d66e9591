"""Following tasks: WatchTasks, gone on with after every interruption, each event once.

Layer: inside operators.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator

import grpc
from contentgen.v1 import task_service_pb2 as pb

from scheduler_svc.cli.operators.connection import Connection
from scheduler_svc.client.errors import refusal

PATIENCE = 60.0
"""Seconds without a scheduler before following is given up."""
_LONGEST_PAUSE = 5.0
_FIRST_PAUSE = 0.2


class Patience:
    """How long an outage lasts already, and the pauses between the tries in it."""

    def __init__(self, limit: float = PATIENCE) -> None:
        self._limit = limit
        self._since: float | None = None
        self._pause = _FIRST_PAUSE

    def answered(self) -> None:
        """There is a scheduler."""
        self._since, self._pause = None, _FIRST_PAUSE

    def wait(self, error: grpc.RpcError) -> None:
        """Pauses before the next try; raises `error` where it is no outage, or has lasted too long."""
        self._since = self._since or time.monotonic()
        assert isinstance(error, grpc.Call)
        if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() - self._since > self._limit:
            raise error
        self.pause()

    def pause(self) -> None:
        """The next pause, longer than the last."""
        time.sleep(random.uniform(0, self._pause))  # noqa: S311 - spreads what comes back at once, no secret
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)


def changes(
    connection: Connection, request: pb.WatchTasksRequest, patience: Patience | None = None
) -> Generator[pb.TaskChange]:
    """The present states, then each move once; it does not end by itself.

    Raises what a call raises, but goes on over an outage, on any replica, as long as `patience` lasts.
    """
    patience = patience or Patience()
    while True:
        stream = connection.tasks.WatchTasks(request, metadata=connection.metadata)
        try:
            for response in stream:
                patience.answered()
                request.resume_token = response.event.resume_token
                yield response.event
        except grpc.RpcError as error:
            reason, _, metadata = refusal(error)
            if reason == "WATCHER_TOO_SLOW":
                request.resume_token = metadata.get("resume_token", request.resume_token)
            else:
                patience.wait(error)
        else:
            patience.pause()  # no scheduler ends a stream without a status, a proxy may
        finally:
            stream.cancel()
