"""What `contentgen task stats --by` prints of a scripted scheduler's answer, compared with a golden file."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.rollup import bucket, point
from scheduler_svc.runtime.validation import duration, timestamp
from tests.contract.operators.transcript import Transcript, run
from tests.harness.scripted_server import scripted

ENDED = ("completed", "failed", "timeout", "cancelled")


def history(request: pb.GetTaskHistoryRequest, _context: object) -> pb.GetTaskHistoryResponse:
    """Answers with two hours, in the second of which something happened."""
    assert request.resolution == pb.RESOLUTION_HOUR
    busy = point(datetime(2026, 1, 31, 9, tzinfo=UTC), {1: 1_500, 4: 1_200, 5: 30, bucket(61): 1_100, bucket(600): 100})
    quiet = pb.TaskHistoryPoint(time=timestamp(datetime(2026, 1, 31, 8, tzinfo=UTC)), counts=dict.fromkeys(ENDED, 0))
    message = pb.TaskHistoryPoint(
        time=timestamp(busy.time),
        submitted=busy.submitted,
        counts={status.label: number for status, number in busy.counts.items()},
        duration_p50=duration(busy.duration_p50),
        duration_p95=duration(busy.duration_p95),
        cost=0.5,
    )
    return pb.GetTaskHistoryResponse(points=[quiet, message])


def test_the_history_of_tasks_prints_the_golden_screens(request: pytest.FixtureRequest) -> None:
    with scripted(GetTaskHistory=history) as target:
        contentgen = Transcript(target, request.config.getoption("--update-golden"))
        for words in (
            ("task", "stats", "--by", "hour"),
            ("-o", "wide", "task", "stats", "--by", "hour", "--since", "2026-01-31", "--account", "1"),
            ("-o", "jsonl", "task", "stats", "--by", "hour"),
            ("task", "stats", "--since", "2026-01-31"),
        ):
            contentgen.add(words, run("--scheduler", target, *words))
        contentgen.check("history")
