"""Following tasks, and how long a command is patient with an outage: the client's parts, set up for a terminal."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence

from contentgen.cli.connection import Connection
from contentgen.cli.documents import Document, document
from contentgen.client.backoff import Backoff
from contentgen.client.errors import RequestError, Unavailable
from contentgen.client.resuming import ResumingStream
from contentgen.client.transport import run
from contentgen.v1 import task_service_pb2 as pb

PATIENCE = 60.0
"""Seconds without a scheduler before a command that follows tasks gives up; at first, when the address may be wrong, it
gives up at once.
"""


def backoff() -> Backoff:
    """Returns how long a command waits between its attempts to reach a scheduler."""
    return Backoff(PATIENCE, at_first=0.0)


def endure(backoff: Backoff, error: RequestError) -> None:
    """Waits before the next attempt; raises `error` if it is no outage, or one that has lasted too long."""
    pause = backoff.pause() if isinstance(error, Unavailable) else None
    if pause is None:
        raise error
    time.sleep(pause)


def changes(
    connection: Connection,
    task_ids: Sequence[str],
    account_id: int,
    resume_token: str,
    *,
    skip_present: bool,
) -> Generator[Document, None, None]:
    """The present states, then each move once, on whichever replica answers; it does not end by itself."""
    request = pb.WatchTasksRequest(
        task_ids=task_ids, account_id=account_id, resume_token=resume_token, skip_present=skip_present
    )
    stream = ResumingStream(connection.transport, request, backoff())
    try:
        while (change := run(stream.next())) is not None:
            yield document(change)
    finally:
        stream.close()
