"""What is submitted and what comes back: tasks of about 1 KB, results of about 2 KB."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from contentgen.v1 import task_pb2 as task_pb
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from lab.benchmarks.prose import RESULT_BYTES, brief, prose


def tasks(account_ids: list[int]) -> Iterator[pb.SubmitTaskRequest]:
    """Yields the tasks of these accounts in turn, without end; the same ones in each run."""
    chance = random.Random(1)
    while True:
        for account_id in account_ids:
            yield pb.SubmitTaskRequest(account_id=account_id, **brief(chance))


def stamp(request: pb.SubmitTaskRequest) -> None:
    request.keywords = f"{time.monotonic():.6f}"


def stamped(task: task_pb.Task) -> float:
    """Returns when that was, in seconds of the machine's monotonic clock."""
    return float(task.keywords)


def result() -> worker_pb.Result:
    return worker_pb.Result(body=prose(random.Random(2), RESULT_BYTES), quality_score=0.9)
