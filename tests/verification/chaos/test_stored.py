"""What the checker reads of a database is what tasks, made by the application itself, have come to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import AttemptCompleted, AttemptStarted, LeaseUpdate
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import RunOutput
from scheduler_svc.leases.report import ReportItem
from tests.harness.scheduling import Scheduling
from verification.chaos.evidence import Stored, StoredContent, StoredTask
from verification.chaos.stored import read_stored, sha256

RUN = "01234567-89ab-cdef-0123-456789abcdef"
TOPIC = "人工智能 'quoted'"


@pytest.fixture
def scheduling(db_url: str) -> Iterator[Scheduling]:
    made = Scheduling(db_url)
    yield made
    made.close()


def read(db_url: str) -> Stored:
    return read_stored(db_url.replace("+psycopg2", ""))


def test_a_task_is_read_at_each_of_its_places(scheduling: Scheduling, db_url: str) -> None:
    ref = scheduling.start(topic=TOPIC, request_id="r", auto_approve=False)
    scheduling.report(ref, AttemptStarted())
    waiting = scheduling.submit_one(request_id="s", max_retries=7)
    stored = read(db_url)
    first = format_task_id(ref.task_key)
    assert stored.tasks == {
        first: StoredTask(first, 1, Status.PROCESSING, "r", sha256(TOPIC), False, 0, 3, None, ("leases",)),
        format_task_id(waiting): StoredTask(
            format_task_id(waiting), 1, Status.PENDING, "s", sha256("a topic"), True, 0, 7, None, ("ready",)
        ),
    }
    assert stored.leases == [first]
    assert (stored.contents, stored.pool, stored.caps) == ([], [], {})


def test_a_content_is_read_with_the_run_in_its_body(scheduling: Scheduling, db_url: str) -> None:
    body = f"run {RUN} and then some"
    ref = scheduling.start(topic=TOPIC)
    scheduling.report(ref, AttemptCompleted(TaskResult(body)))
    task_id, stored = format_task_id(ref.task_key), read(db_url)
    (content,) = stored.contents
    assert content == StoredContent(content.content_id, task_id, 1, sha256(body), RUN)
    assert stored.pool == [content.content_id] == [stored.tasks[task_id].content_id]
    assert (stored.tasks[task_id].places, stored.leases) == ((), [])
    moves = [
        (event.previous, event.status, event.attempt, event.worker, event.reason) for event in stored.events[task_id]
    ]
    assert moves == [
        (Status.NONE, Status.PENDING, 0, "", "SUBMITTED"),
        (Status.PENDING, Status.SUBMITTED, 1, "w", "LEASED"),
        (Status.SUBMITTED, Status.PROCESSING, 1, "w", "STARTED"),
        (Status.PROCESSING, Status.COMPLETED, 1, "w", "COMPLETED"),
    ]


def test_a_lease_that_only_bars_its_task_is_no_place_of_it(scheduling: Scheduling, db_url: str) -> None:
    account_id = scheduling.make_account(limit=2)
    ref = scheduling.start()
    scheduling.cancel(ref.task_key, force=True)
    task_id, stored = format_task_id(ref.task_key), read(db_url)
    assert (stored.tasks[task_id].status, stored.tasks[task_id].places) == (Status.CANCELLED, ())
    assert (stored.leases, stored.caps) == ([task_id], {account_id: 2})


def test_logs_are_read_by_attempt(scheduling: Scheduling, db_url: str) -> None:
    ref = scheduling.start()
    update = LeaseUpdate(ref.lease_id, ref.attempt, ref, AttemptCompleted(TaskResult("a body")), RunOutput("out", ""))
    scheduling.report_group(ReportItem((update,)))
    assert read(db_url).logs == {(format_task_id(ref.task_key), 1)}


def test_a_body_without_a_run_has_none(scheduling: Scheduling, db_url: str) -> None:
    scheduling.report(scheduling.start(), AttemptCompleted(TaskResult("a body of some words")))
    assert [content.run for content in read(db_url).contents] == [None]
