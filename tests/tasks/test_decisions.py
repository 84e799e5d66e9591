"""What may become of a task: transitions, retries, ends without a result, its history."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain import lifecycle
from scheduler_svc.domain.change import TaskChange, changes
from scheduler_svc.domain.lease import AttemptDeferred, AttemptFailed, AttemptReleased, LeaseEnd, Release
from scheduler_svc.domain.lifecycle import (
    EDGES,
    MOVES,
    OPEN,
    RETRYABLE,
    RUNNING,
    IllegalMove,
    Move,
    RetryBackoff,
    Status,
    after,
)
from scheduler_svc.domain.resolution import Cause, Counters, Requeue, Resolution, loss_cause, resolve
from scheduler_svc.domain.resolution import reported_cause as reported_by
from scheduler_svc.domain.task import AttemptProgress, Brief, Task, TaskError, TaskEvent

pytestmark = pytest.mark.unit

S = Status
# Written down from the contract, not from the table: what a client may see a task do.
CONTRACT = {
    (S.NONE, S.PENDING): {Move.SUBMIT},
    (S.PENDING, S.SUBMITTED): {Move.LEASE},
    (S.PENDING, S.CANCELLED): {Move.CANCEL},
    (S.SUBMITTED, S.PROCESSING): {Move.START},
    (S.SUBMITTED, S.FAILED): {Move.FAIL, Move.LOSE},
    (S.PROCESSING, S.FAILED): {Move.FAIL, Move.LOSE},
    (S.SUBMITTED, S.TIMEOUT): {Move.TIME_OUT},
    (S.PROCESSING, S.TIMEOUT): {Move.TIME_OUT},
    (S.PROCESSING, S.COMPLETED): {Move.COMPLETE},
    (S.FAILED, S.PENDING): {Move.RETRY},
    (S.TIMEOUT, S.PENDING): {Move.RETRY},
    # five more, beyond the old application's
    (S.SUBMITTED, S.PENDING): {Move.RELEASE, Move.DEFER},
    (S.PROCESSING, S.PENDING): {Move.DEFER},
    (S.SUBMITTED, S.CANCELLED): {Move.CANCEL_BY_FORCE},
    (S.PROCESSING, S.CANCELLED): {Move.CANCEL_BY_FORCE},
    (S.PENDING, S.COMPLETED): {Move.COMPLETE_LATE},
    (S.PENDING, S.PENDING): {Move.UPDATE},
}


@pytest.mark.parametrize(("status", "move"), list(itertools.product(Status, Move)), ids=lambda member: member.name)
def test_each_move_from_each_state(status: Status, move: Move) -> None:
    targets = {edge.target for edge in EDGES if (edge.source, edge.move) == (status, move)}
    if targets:
        assert {after(status, move)} == targets
    else:
        with pytest.raises(IllegalMove, match=f"{move.name} from {status.name}"):
            after(status, move)


def test_the_table_has_the_contract_s_edges_and_no_others() -> None:
    edges: dict[tuple[Status, Status], set[Move]] = {}
    for edge in EDGES:
        edges.setdefault((edge.source, edge.target), set()).add(edge.move)
    assert edges == CONTRACT
    assert CONTRACT.keys() == MOVES


def test_a_letter_is_one_move_and_the_letters_have_no_gap() -> None:
    letters = {edge.letter: edge.move for edge in EDGES}
    assert len(set(letters.values())) == len(letters)
    assert "".join(letters) == "abcdefghijklmnopqrstuvwxyz"[: len(letters)]
    assert {edge.move for edge in EDGES} == set(Move)


def test_the_numbers_are_those_of_the_contract() -> None:
    names = ["NONE", "PENDING", "SUBMITTED", "PROCESSING", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"]
    assert [(status.value, status.name) for status in Status] == list(enumerate(names))
    assert [status.label for status in Status] == [name.lower() for name in names]


def test_the_groups_of_states() -> None:
    assert {S.PENDING, S.SUBMITTED, S.PROCESSING} == OPEN
    assert {S.SUBMITTED, S.PROCESSING} == RUNNING
    assert {S.FAILED, S.TIMEOUT} == RETRYABLE


# When an attempt that did not complete is followed by another, and how long that waits.


CREATOR_REASONS = ["CREATOR_ERROR", "CREATOR_TIMEOUT", "CREATOR_INVALID_RESPONSE", "CREATOR_CLI_NOT_FOUND"]
OF_A_NEWER_WORKER = "CREATOR_OUT_OF_CREDIT"
FINAL = ["RESULT_TOO_LARGE", "INVALID_CREATOR_OPTIONS", "CANCELLED_BY_CLIENT", "EXPIRED", "NO_WORKER_ACCEPTS"]


def test_another_attempt_may_help_unless_the_reason_is_final() -> None:
    for reason in (*CREATOR_REASONS, "TASK_TIMEOUT", "DEFERRED", OF_A_NEWER_WORKER, *FINAL):
        helps = reason not in FINAL
        assert lifecycle.is_retryable(reason) is helps, reason
        assert lifecycle.is_auto_retried(reason, auto_retry=True, retry_count=2, max_retries=3) is helps, reason


@pytest.mark.parametrize(
    ("auto_retry", "retry_count", "max_retries", "retries"),
    [(True, 0, 3, True), (True, 2, 3, True), (True, 3, 3, False), (True, 0, 0, False), (False, 0, 3, False)],
)
def test_retries_by_itself(auto_retry: bool, retry_count: int, max_retries: int, retries: bool) -> None:
    used = {"auto_retry": auto_retry, "retry_count": retry_count, "max_retries": max_retries}
    assert lifecycle.is_auto_retried("CREATOR_ERROR", **used) is retries  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        pytest.param(RetryBackoff(), [30, 60, 120, 240, 480, 600, 600], id="by default: doubles up to its cap"),
        pytest.param(RetryBackoff(initial_ms=500), [0.5, 1, 2, 4], id="first"),
        pytest.param(RetryBackoff(multiplier=1.0), [30, 30, 30, 30], id="constant"),
        pytest.param(RetryBackoff(initial_ms=1_000, multiplier=3.5), [1, 3.5, 12.25, 42.875], id="factor"),
        pytest.param(RetryBackoff(initial_ms=1_000, multiplier=10.0, max_ms=50_000), [1, 10, 50, 50], id="cap"),
        pytest.param(RetryBackoff(initial_ms=3_600_000), [3_600, 3_600], id="first above the cap by default"),
        pytest.param(RetryBackoff(max_ms=10_000), [10, 10], id="cap below the first by default"),
    ],
)
def test_a_task_waits_as_it_says_before_each_retry(backoff: RetryBackoff, waits: list[float]) -> None:
    assert [backoff.before(number, 0.5) for number, _ in enumerate(waits, 1)] == pytest.approx(waits)


@given(
    number=st.integers(1, 100),
    jitter=st.floats(0, 1, exclude_max=True),
    initial=st.integers(1, 2_592_000_000),
    multiplier=st.floats(1, 100),
)
def test_no_wait_is_above_its_cap_or_below_its_first(
    number: int, jitter: float, initial: int, multiplier: float
) -> None:
    wait = RetryBackoff(initial, multiplier, 2_592_000_000).before(number, jitter)
    assert 0.9 * initial / 1e3 <= wait * (1 + 1e-9)
    assert wait <= 2_592_000


@pytest.mark.parametrize(("asked", "least", "most"), [(20, 20, 22), (0, 1, 1.1), (-5, 1, 1.1), (1e12, 86_400, 95_040)])
def test_a_deferral_waits_what_was_asked_within_bounds_and_never_less(asked: float, least: float, most: float) -> None:
    assert lifecycle.deferral_wait(asked, 0.0) == least
    assert least < lifecycle.deferral_wait(asked, 0.999) <= most


@given(number=st.integers(1, 32_767), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_moves_the_backoff_by_a_tenth_and_never_above_the_cap(number: int, jitter: float) -> None:
    middle = 30.0 * 2 ** min(number - 1, 10)
    assert min(600.0, 0.9 * middle) <= RetryBackoff().before(number, jitter) <= min(600.0, 1.1 * middle)
    assert RetryBackoff().before(1, 0.0) < RetryBackoff().before(1, 0.9), "two that failed together come back apart"


# What becomes of a task when an attempt ends without a result.


MAX_LOSSES = 5
MAX_DEFERRALS = 3
CREATOR_ERROR = TaskError("CREATOR_ERROR", "exit status 3")
TIMED_OUT = TaskError("TASK_TIMEOUT", "too long")
CANCELLED = TaskError("CANCELLED_BY_CLIENT")
running = pytest.mark.parametrize("status", sorted(RUNNING))


def counters(**used: Any) -> Counters:
    """Those of a new task of default settings, but for `used`."""
    return replace(Counters(0, 3, auto_retry=True, losses=0, refusals=0), **used)


def reported(ending: AttemptFailed | AttemptReleased | AttemptDeferred, started: bool) -> Cause:
    return reported_by(ending, started, MAX_DEFERRALS)


def follow(status: Status, cause: Cause, used: Counters | None = None) -> Resolution:
    return resolve(status, cause, used or counters(), max_losses=MAX_LOSSES, jitter=0.5)


def moves(then: Resolution) -> list[tuple[Status, Status]]:
    return [(step.source, step.target) for step in then.steps]


@running
@pytest.mark.parametrize(("error", "ended"), [(CREATOR_ERROR, Status.FAILED), (TIMED_OUT, Status.TIMEOUT)])
def test_a_failure_or_timeout_is_retried_after_a_backoff(status: Status, error: TaskError, ended: Status) -> None:
    used = counters(retry_count=1, losses=4, refusals=9, backoff=RetryBackoff(2_000, 3.0))
    then = follow(status, reported(AttemptFailed(error), started=True), used)
    assert moves(then) == [(status, ended), (ended, Status.PENDING)]
    assert (then.status, then.requeue, then.retry_count, then.delay) == (Status.PENDING, Requeue.BACKOFF, 2, 6.0)
    assert (then.losses, then.refusals, then.error) == (0, 0, error), "the CLI ran, which ends these rows"
    assert [step.reason for step in then.steps] == [error.reason, "AUTO_RETRY"]


@pytest.mark.parametrize(
    ("used", "ending"),
    [
        (counters(retry_count=3), AttemptFailed(CREATOR_ERROR)),
        (counters(max_retries=0), AttemptFailed(CREATOR_ERROR)),
        (counters(auto_retry=False), AttemptFailed(CREATOR_ERROR)),
        (counters(), AttemptFailed(TaskError("RESULT_TOO_LARGE"))),
        (counters(max_retries=0, deferrals=MAX_DEFERRALS - 1), AttemptDeferred(20.0)),
    ],
    ids=["retries used up", "none allowed", "not by itself", "no help", "the last deferral in a row"],
)
@running
def test_a_failure_with_no_retry_to_come_ends_the_task(
    status: Status, used: Counters, ending: AttemptFailed | AttemptDeferred
) -> None:
    then = follow(status, reported(ending, started=True), used)
    assert moves(then) == [(status, Status.FAILED)]
    assert (then.status, then.requeue, then.retry_count) == (Status.FAILED, Requeue.NOWHERE, used.retry_count)


@running
@pytest.mark.parametrize("auto_retry", [True, False])
def test_a_loss_goes_on_at_once_and_consumes_no_retry(status: Status, auto_retry: bool) -> None:
    used = counters(retry_count=3, max_retries=3, auto_retry=auto_retry, losses=3)
    then = follow(status, loss_cause("its lease expired"), used)
    assert moves(then) == [(status, Status.FAILED), (Status.FAILED, Status.PENDING)]
    assert (then.requeue, then.delay, then.retry_count, then.losses) == (Requeue.READY, 0.0, 3, 4)
    assert then.error == TaskError("WORKER_LOST", "its lease expired")


@running
def test_the_fifth_loss_in_a_row_stays_failed(status: Status) -> None:
    then = follow(status, loss_cause("its lease expired"), counters(losses=4))
    assert moves(then) == [(status, Status.FAILED)]
    assert (then.status, then.requeue, then.losses) == (Status.FAILED, Requeue.NOWHERE, 5)


def test_a_lease_released_after_its_cli_started_is_no_counted_loss() -> None:
    cause = reported(AttemptReleased(Release.EXPIRED, started=True), started=True)
    then = follow(Status.PROCESSING, cause, counters(losses=4))
    assert moves(then) == [(Status.PROCESSING, Status.FAILED), (Status.FAILED, Status.PENDING)]
    assert (then.requeue, then.losses, then.retry_count) == (Requeue.READY, 4, 0)
    assert cause.end is LeaseEnd.RELEASED


@pytest.mark.parametrize("reason", [Release.DRAINING, Release.EXPIRED, Release.QUEUED_TOO_LONG])
def test_a_lease_released_unstarted_keeps_its_place(reason: Release) -> None:
    used = counters(retry_count=1, losses=2, refusals=3)
    then = follow(Status.SUBMITTED, reported(AttemptReleased(reason, started=False), started=False), used)
    assert moves(then) == [(Status.SUBMITTED, Status.PENDING)]
    assert (then.requeue, then.delay) == (Requeue.KEPT, 0.0)
    assert (then.retry_count, then.losses, then.refusals) == (1, 2, 3)
    assert then.error is None
    assert then.steps[0].reason == reason.name


def test_a_refused_task_keeps_its_place_waits_longer_each_time_and_fails_for_good_at_the_tenth() -> None:
    cause = reported(AttemptReleased(Release.REFUSED, started=False), started=False)
    for refusals, seconds in enumerate((1, 2, 4, 8, 16, 32, 60, 60, 60)):
        then = follow(Status.SUBMITTED, cause, counters(refusals=refusals))
        assert moves(then) == [(Status.SUBMITTED, Status.PENDING)]
        assert (then.requeue, then.delay, then.refusals) == (Requeue.KEPT_LATER, seconds, refusals + 1)
    then = follow(Status.SUBMITTED, cause, counters(refusals=9))
    assert moves(then) == [(Status.SUBMITTED, Status.FAILED)]
    assert (then.status, then.requeue) == (Status.FAILED, Requeue.NOWHERE)
    assert then.error == TaskError("NO_WORKER_ACCEPTS", "refused 10 times in a row")


@running
@pytest.mark.parametrize("auto_retry", [True, False])
def test_a_deferred_attempt_waits_as_long_as_was_asked_and_consumes_no_retry(status: Status, auto_retry: bool) -> None:
    cause = reported(AttemptDeferred(20.0, "over its quota"), started=True)
    then = follow(status, cause, counters(retry_count=3, auto_retry=auto_retry, losses=4, refusals=9, deferrals=1))
    assert moves(then) == [(status, Status.PENDING)]
    assert (then.status, then.requeue, then.delay) == (Status.PENDING, Requeue.BACKOFF, 21.0)
    assert (then.retry_count, then.losses, then.refusals, then.deferrals) == (3, 0, 0, 2)
    assert (then.error, cause.end) == (None, LeaseEnd.RELEASED)
    assert then.steps[0].reason == "DEFERRED"
    assert then.steps[0].message == "offered again in 21 s: over its quota"


@running
def test_the_last_deferral_in_a_row_is_a_failure_that_is_retried(status: Status) -> None:
    then = follow(status, reported(AttemptDeferred(20.0), started=True), counters(deferrals=MAX_DEFERRALS - 1))
    assert moves(then) == [(status, Status.FAILED), (Status.FAILED, Status.PENDING)]
    assert (then.requeue, then.delay, then.retry_count, then.deferrals) == (Requeue.BACKOFF, 30.0, 1, 0)
    assert then.error == TaskError("DEFERRED", "the CLI asked 3 times in a row to come back later")


@pytest.mark.parametrize(
    ("cause", "deferrals"),
    [
        (reported(AttemptFailed(CREATOR_ERROR), started=True), 0),
        (reported(AttemptFailed(TIMED_OUT), started=True), 0),
        (Cause(Move.CANCEL_BY_FORCE, LeaseEnd.REVOKED, lifecycle.CANCELLED_BY_CLIENT, CANCELLED), 0),
        (loss_cause("its lease expired"), 2),
        (reported(AttemptReleased(Release.DRAINING, started=True), started=True), 2),
        (reported(AttemptReleased(Release.DRAINING, started=False), started=False), 2),
        (reported(AttemptReleased(Release.REFUSED, started=False), started=False), 2),
    ],
    ids=["failed", "timed out", "cancelled", "lost", "released", "released unstarted", "refused"],
)
def test_other_ends_reset_the_count_of_deferrals(cause: Cause, deferrals: int) -> None:
    """A loss or a release shows nothing about the CLI: else alternating deferrals and losses would go on forever."""
    status = Status.SUBMITTED if cause.move is Move.RELEASE else Status.PROCESSING
    assert follow(status, cause, counters(deferrals=2)).deferrals == deferrals


@running
def test_a_forced_cancel_ends_the_task(status: Status) -> None:
    cause = Cause(Move.CANCEL_BY_FORCE, LeaseEnd.REVOKED, lifecycle.CANCELLED_BY_CLIENT, CANCELLED)
    then = follow(status, cause, counters(retry_count=2))
    assert moves(then) == [(status, Status.CANCELLED)]
    assert (then.requeue, then.retry_count, then.error) == (Requeue.NOWHERE, 2, CANCELLED)


errors = st.sampled_from(["CREATOR_ERROR", "TASK_TIMEOUT", "RESULT_TOO_LARGE", "SOMETHING_NEW"]).map(TaskError)
deferrals = st.builds(AttemptDeferred, st.floats(-1e9, 1e9))
reports = (
    st.builds(AttemptFailed, errors) | st.builds(AttemptReleased, st.sampled_from(Release), st.booleans()) | deferrals
)
causes = st.just(loss_cause("its lease expired")) | st.builds(
    lambda ending: reported(ending, started=ending.started if isinstance(ending, AttemptReleased) else True), reports
)


@st.composite
def used_counters(draw: st.DrawFn) -> Counters:
    max_retries = draw(st.integers(0, 100))
    return Counters(
        draw(st.integers(0, max_retries)),
        max_retries,
        draw(st.booleans()),
        draw(st.integers(0, MAX_LOSSES - 1)),
        draw(st.integers(0, lifecycle.MAX_REFUSALS - 1)),
        draw(st.integers(0, MAX_DEFERRALS - 1)),
    )


@given(cause=causes, used=used_counters(), jitter=st.floats(0, 1, exclude_max=True))
def test_whatever_ends_the_steps_are_legal_moves_that_lead_to_the_status(
    cause: Cause, used: Counters, jitter: float
) -> None:
    status = Status.SUBMITTED if cause.move is Move.RELEASE else Status.PROCESSING
    then = resolve(status, cause, used, max_losses=MAX_LOSSES, jitter=jitter)
    path = [status, *(step.target for step in then.steps)]
    assert [step.source for step in then.steps] == path[:-1]
    assert path[-1] is then.status
    assert set(moves(then)) <= MOVES
    assert (then.requeue is Requeue.NOWHERE) == (then.status is not Status.PENDING)
    assert used.retry_count <= then.retry_count <= used.max_retries
    assert (then.delay > 0) == (then.requeue in (Requeue.BACKOFF, Requeue.KEPT_LATER))
    assert then.deferrals < MAX_DEFERRALS
    if then.retry_count != used.retry_count:  # the CLI failed or timed out
        assert cause.move in (Move.FAIL, Move.TIME_OUT) or used.deferrals == MAX_DEFERRALS - 1
        assert then.requeue is Requeue.BACKOFF


# A task as of each move of its history.


START = datetime(2026, 1, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def history(*moves: tuple[int, Status, int, str, int | None]) -> list[TaskEvent]:
    """Moves as minute, status, attempt, reason and retries; a lease's fence is ten times its attempt."""
    before = S.NONE
    events = []
    for seq, (minute, status, attempt, reason, retries) in enumerate(moves, 1):
        fence = 10 * attempt if attempt else None
        worker = f"w{attempt}" if attempt else ""
        events.append(TaskEvent(seq, 1, before, status, at(minute), attempt, fence, worker, reason, reason, retries))
        before = status
    return events


LIFE = history(
    (0, S.PENDING, 0, "SUBMITTED", None),
    (1, S.SUBMITTED, 1, "LEASED", None),
    (2, S.PROCESSING, 1, "STARTED", None),
    (3, S.FAILED, 1, "CREATOR_ERROR", None),
    (3, S.PENDING, 1, "AUTO_RETRY", 1),
    (5, S.SUBMITTED, 2, "LEASED", None),
    (6, S.FAILED, 2, "CREATOR_ERROR", None),
    (7, S.PENDING, 0, "RETRY_TASK", 2),
    (8, S.SUBMITTED, 3, "LEASED", None),
    (9, S.PROCESSING, 3, "STARTED", None),
)
ERROR = TaskError("CREATOR_ERROR", "CREATOR_ERROR", {"exit_code": "3"})
RUNNING_TASK = Task(
    1, 1, Brief("a topic"), 5, True, S.PENDING, at(0), None, timedelta(minutes=9), 3, True, {}, ""
)._replace(
    status=S.PROCESSING,
    attempt=3,
    worker_id="w3",
    fence=30,
    submit_time=at(8),
    start_time=at(9),
    timeout_time=at(17),
    retry_count=2,
    progress=AttemptProgress(50),
    error=ERROR,
)


def of(task: Task, events: list[TaskEvent]) -> list[TaskChange]:
    return list(changes(task, events, {event.seq for event in events}))


@pytest.fixture
def life() -> list[TaskChange]:
    """The present task as of each of its moves."""
    return of(RUNNING_TASK, LIFE)


def test_a_task_as_of_its_last_move_is_the_present_task(life: list[TaskChange]) -> None:
    assert life[-1] == TaskChange(10, RUNNING_TASK, S.SUBMITTED, at(9), will_retry=False)


def test_each_move_knows_its_attempt_and_the_times_up_to_then(life: list[TaskChange]) -> None:
    attempts = [
        (change.task.attempt, change.task.worker_id, change.task.submit_time, change.task.start_time) for change in life
    ]
    assert attempts == [
        (0, "", None, None),
        (1, "w1", at(1), None),
        *[(1, "w1", at(1), at(2))] * 3,
        *[(2, "w2", at(5), None)] * 3,
        (3, "w3", at(8), None),
        (3, "w3", at(8), at(9)),
    ]


def test_only_a_failure_that_is_followed_by_itself_will_be_retried(life: list[TaskChange]) -> None:
    assert [change.number for change in life if change.will_retry] == [4]
    assert [(change.number, change.task.end_time) for change in life if change.task.end_time] == [(7, at(6))]
    assert [change.task.retry_count for change in life] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_details_of_an_error_are_known_of_the_last_one(life: list[TaskChange]) -> None:
    without = TaskError("CREATOR_ERROR", "CREATOR_ERROR")
    assert [change.task.error for change in life] == [None, None, None, *[without] * 3, *[ERROR] * 4]


def test_progress_lease_and_time_limit_are_of_the_attempt_that_runs(life: list[TaskChange]) -> None:
    assert [change.number for change in life if change.task.progress] == [9, 10]
    assert [change.number for change in life if change.task.timeout_time] == [9, 10]
    assert [change.task.fence for change in life] == [None, 10, 10, None, None, 20, None, None, 30, 30]


def test_a_completed_task_has_its_content_and_no_error() -> None:
    events = [*LIFE, TaskEvent(11, 1, S.PROCESSING, S.COMPLETED, at(10), 3, 30, "w3", "COMPLETED", "", None)]
    done = RUNNING_TASK._replace(
        status=S.COMPLETED, end_time=at(10), timeout_time=None, progress=None, error=None, fence=None, content_id=7
    )
    task_changes = of(done, events)
    assert task_changes[-1].task == done
    assert [change.task.content_id for change in task_changes] == [0] * 10 + [7]
    assert task_changes[6].task.error == TaskError("CREATOR_ERROR", "CREATOR_ERROR")
