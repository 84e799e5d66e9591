"""What becomes of a task when an attempt ends without a result."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain import retry
from scheduler_svc.domain.lease import AttemptDeferred, AttemptFailed, AttemptReleased, LeaseEnd, Release
from scheduler_svc.domain.lifecycle import MOVES, RUNNING, Move, Status
from scheduler_svc.domain.resolution import Cause, Counters, Requeue, Resolution, loss_cause, resolve
from scheduler_svc.domain.resolution import reported_cause as reported_by
from scheduler_svc.domain.retry import RetryBackoff
from scheduler_svc.domain.task import TaskError

MAX_LOSSES = 5
MAX_DEFERRALS = 3
CREATOR_ERROR = TaskError("CREATOR_ERROR", "exit status 3")
TIMED_OUT = TaskError("TASK_TIMEOUT", "too long")
CANCELLED = TaskError("CANCELLED_BY_CLIENT")

running = pytest.mark.parametrize("status", sorted(RUNNING))


def counters(
    retry_count: int = 0,
    max_retries: int = 3,
    auto_retry: bool = True,
    losses: int = 0,
    refusals: int = 0,
    *,
    deferrals: int = 0,
) -> Counters:
    return Counters(retry_count, max_retries, auto_retry, losses, refusals, deferrals)


def reported(ending: AttemptFailed | AttemptReleased | AttemptDeferred, started: bool) -> Cause:
    return reported_by(ending, started, MAX_DEFERRALS)


def follow(status: Status, cause: Cause, used: Counters | None = None) -> Resolution:
    return resolve(status, cause, used or counters(), max_losses=MAX_LOSSES, jitter=0.5)


def moves(then: Resolution) -> list[tuple[Status, Status]]:
    return [(step.source, step.target) for step in then.steps]


@running
def test_a_failure_is_retried_after_a_backoff(status: Status) -> None:
    then = follow(status, reported(AttemptFailed(CREATOR_ERROR), started=True), counters(retry_count=1))
    assert moves(then) == [(status, Status.FAILED), (Status.FAILED, Status.PENDING)]
    assert (then.status, then.requeue, then.retry_count, then.delay) == (Status.PENDING, Requeue.BACKOFF, 2, 60.0)
    assert then.error == CREATOR_ERROR
    assert [step.reason for step in then.steps] == ["CREATOR_ERROR", "AUTO_RETRY"]


@running
def test_a_timeout_is_retried_likewise(status: Status) -> None:
    then = follow(status, reported(AttemptFailed(TIMED_OUT), started=True))
    assert moves(then) == [(status, Status.TIMEOUT), (Status.TIMEOUT, Status.PENDING)]
    assert then.retry_count == 1


@pytest.mark.parametrize(
    ("used", "error"),
    [
        (counters(retry_count=3), CREATOR_ERROR),
        (counters(max_retries=0), CREATOR_ERROR),
        (counters(auto_retry=False), CREATOR_ERROR),
        (counters(), TaskError("RESULT_TOO_LARGE")),
    ],
    ids=["retries used up", "none allowed", "not by itself", "no help"],
)
@running
def test_a_failure_with_no_retry_to_come_ends_the_task(status: Status, used: Counters, error: TaskError) -> None:
    then = follow(status, reported(AttemptFailed(error), started=True), used)
    assert moves(then) == [(status, Status.FAILED)]
    assert (then.status, then.requeue, then.retry_count) == (Status.FAILED, Requeue.NOWHERE, used.retry_count)


@running
@pytest.mark.parametrize("auto_retry", [True, False])
def test_a_loss_goes_on_at_once_and_consumes_no_retry(status: Status, auto_retry: bool) -> None:
    used = counters(retry_count=3, max_retries=3, auto_retry=auto_retry, losses=3)
    then = follow(status, loss_cause("its lease ran out"), used)
    assert moves(then) == [(status, Status.FAILED), (Status.FAILED, Status.PENDING)]
    assert (then.requeue, then.delay, then.retry_count, then.losses) == (Requeue.READY, 0.0, 3, 4)
    assert then.error is not None
    assert then.error.reason == "WORKER_LOST"


@running
def test_the_fifth_loss_in_a_row_stays_failed(status: Status) -> None:
    then = follow(status, loss_cause("its lease ran out"), counters(losses=4))
    assert moves(then) == [(status, Status.FAILED)]
    assert (then.status, then.requeue, then.losses) == (Status.FAILED, Requeue.NOWHERE, 5)


def test_what_is_given_back_after_its_cli_had_started_is_no_counted_loss() -> None:
    cause = reported(AttemptReleased(Release.EXPIRED, started=True), started=True)
    then = follow(Status.PROCESSING, cause, counters(losses=4))
    assert moves(then) == [(Status.PROCESSING, Status.FAILED), (Status.FAILED, Status.PENDING)]
    assert (then.requeue, then.losses, then.retry_count) == (Requeue.READY, 4, 0)
    assert cause.end is LeaseEnd.RELEASED


@pytest.mark.parametrize("reason", [Release.DRAINING, Release.EXPIRED, Release.QUEUED_TOO_LONG])
def test_what_is_given_back_unstarted_keeps_its_place(reason: Release) -> None:
    used = counters(retry_count=1, losses=2, refusals=3)
    then = follow(Status.SUBMITTED, reported(AttemptReleased(reason, started=False), started=False), used)
    assert moves(then) == [(Status.SUBMITTED, Status.PENDING)]
    assert (then.requeue, then.delay) == (Requeue.KEPT, 0.0)
    assert (then.retry_count, then.losses, then.refusals) == (1, 2, 3)
    assert then.error is None
    assert then.steps[0].reason == reason.name


@pytest.mark.parametrize(("refusals", "seconds"), [(0, 1), (1, 2), (5, 32), (6, 60), (8, 60)])
def test_a_refused_task_keeps_its_place_and_waits(refusals: int, seconds: float) -> None:
    cause = reported(AttemptReleased(Release.REFUSED, started=False), started=False)
    then = follow(Status.SUBMITTED, cause, counters(refusals=refusals))
    assert moves(then) == [(Status.SUBMITTED, Status.PENDING)]
    assert (then.requeue, then.delay, then.refusals) == (Requeue.KEPT_LATER, seconds, refusals + 1)


def test_the_tenth_refusal_in_a_row_fails_the_task_for_good() -> None:
    cause = reported(AttemptReleased(Release.REFUSED, started=False), started=False)
    then = follow(Status.SUBMITTED, cause, counters(refusals=9))
    assert moves(then) == [(Status.SUBMITTED, Status.FAILED)]
    assert (then.status, then.requeue) == (Status.FAILED, Requeue.NOWHERE)
    assert then.error is not None
    assert then.error.reason == "NO_WORKER_ACCEPTS"


@pytest.mark.parametrize("error", [CREATOR_ERROR, TIMED_OUT])
def test_an_attempt_that_ran_ends_the_rows_of_losses_and_refusals(error: TaskError) -> None:
    then = follow(Status.PROCESSING, reported(AttemptFailed(error), started=True), counters(losses=4, refusals=9))
    assert (then.losses, then.refusals) == (0, 0)


@running
@pytest.mark.parametrize("auto_retry", [True, False])
def test_a_deferred_attempt_waits_as_long_as_was_asked_and_consumes_no_retry(status: Status, auto_retry: bool) -> None:
    cause = reported(AttemptDeferred(20.0, "over its quota"), started=True)
    then = follow(status, cause, counters(3, 3, auto_retry, losses=4, refusals=9, deferrals=1))
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


def test_the_last_deferral_in_a_row_ends_a_task_without_retries() -> None:
    used = counters(max_retries=0, deferrals=MAX_DEFERRALS - 1)
    then = follow(Status.PROCESSING, reported(AttemptDeferred(20.0), started=True), used)
    assert moves(then) == [(Status.PROCESSING, Status.FAILED)]
    assert (then.status, then.requeue) == (Status.FAILED, Requeue.NOWHERE)


@pytest.mark.parametrize(
    ("cause", "deferrals"),
    [
        (reported(AttemptFailed(CREATOR_ERROR), started=True), 0),
        (reported(AttemptFailed(TIMED_OUT), started=True), 0),
        (Cause(Move.CANCEL_BY_FORCE, LeaseEnd.REVOKED, retry.CANCELLED_BY_CLIENT, CANCELLED), 0),
        (loss_cause("its lease ran out"), 2),
        (reported(AttemptReleased(Release.DRAINING, started=True), started=True), 2),
        (reported(AttemptReleased(Release.DRAINING, started=False), started=False), 2),
        (reported(AttemptReleased(Release.REFUSED, started=False), started=False), 2),
    ],
    ids=["failed", "timed out", "cancelled", "lost", "given back", "given back unstarted", "refused"],
)
def test_what_ends_the_row_of_deferrals(cause: Cause, deferrals: int) -> None:
    """What is lost or given back says nothing of the CLI: else deferrals and losses in turn would go on for ever."""
    status = Status.SUBMITTED if cause.move is Move.RELEASE else Status.PROCESSING
    assert follow(status, cause, counters(deferrals=2)).deferrals == deferrals


def test_a_retry_waits_as_the_task_says() -> None:
    used = replace(counters(retry_count=1), backoff=RetryBackoff(2_000, 3.0))
    then = follow(Status.PROCESSING, reported(AttemptFailed(CREATOR_ERROR), started=True), used)
    assert then.delay == pytest.approx(6.0)


@running
def test_a_forced_cancel_ends_the_task(status: Status) -> None:
    cause = Cause(Move.CANCEL_BY_FORCE, LeaseEnd.REVOKED, retry.CANCELLED_BY_CLIENT, CANCELLED)
    then = follow(status, cause, counters(retry_count=2))
    assert moves(then) == [(status, Status.CANCELLED)]
    assert (then.requeue, then.retry_count, then.error) == (Requeue.NOWHERE, 2, CANCELLED)


errors = st.sampled_from(["CREATOR_ERROR", "TASK_TIMEOUT", "RESULT_TOO_LARGE", "SOMETHING_NEW"]).map(TaskError)
deferrals = st.builds(AttemptDeferred, st.floats(-1e9, 1e9))
reports = (
    st.builds(AttemptFailed, errors) | st.builds(AttemptReleased, st.sampled_from(Release), st.booleans()) | deferrals
)
causes = st.just(loss_cause("its lease ran out")) | st.builds(
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
        draw(st.integers(0, retry.MAX_REFUSALS - 1)),
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


@given(cause=causes, used=used_counters())
def test_a_retry_is_consumed_only_where_the_cli_failed_or_timed_out(cause: Cause, used: Counters) -> None:
    status = Status.SUBMITTED if cause.move is Move.RELEASE else Status.PROCESSING
    then = follow(status, cause, used)
    if then.retry_count != used.retry_count:
        assert cause.move in (Move.FAIL, Move.TIME_OUT) or used.deferrals == MAX_DEFERRALS - 1
        assert then.requeue is Requeue.BACKOFF
