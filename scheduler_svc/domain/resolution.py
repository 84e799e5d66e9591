"""What becomes of a task when an attempt ends without a result: the next status, the retry, the place in the queue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from scheduler_svc.domain import retry
from scheduler_svc.domain.lease import AttemptDeferred, AttemptFailed, AttemptReleased, LeaseEnd, Release
from scheduler_svc.domain.lifecycle import Move, Status, after
from scheduler_svc.domain.retry import DEFAULT_BACKOFF, RetryBackoff
from scheduler_svc.domain.task import TaskError


class Requeue(Enum):
    """Where a task goes on."""

    NOWHERE = "nowhere"  # it has ended
    READY = "ready"  # at its turn among what is ready now
    KEPT = "kept"  # ready with the place that it had
    BACKOFF = "backoff"  # after `delay` seconds, at its turn then
    KEPT_LATER = "kept later"  # after `delay` seconds, with the place that it had


@dataclass(frozen=True, slots=True)
class Deferral:
    """What a CLI asked for, and which deferral in a row is a failure instead."""

    asked: AttemptDeferred
    limit: int


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an attempt ended. `error` None: nothing went wrong."""

    move: Move  # FAIL, TIME_OUT, LOSE, GIVE_BACK, DEFER or CANCEL_BY_FORCE
    end: LeaseEnd
    reason: str
    error: TaskError | None = None
    counted: bool = True  # a LOSE that is nobody's loss is not
    refused: bool = False
    deferral: Deferral | None = None  # of a DEFER


@dataclass(frozen=True, slots=True)
class Counters:
    """What a task has used up, and how long it waits before a retry."""

    retry_count: int
    max_retries: int
    auto_retry: bool
    losses: int
    refusals: int
    deferrals: int = 0
    backoff: RetryBackoff = DEFAULT_BACKOFF


@dataclass(frozen=True, slots=True)
class Step:
    """One move of the history."""

    source: Status
    target: Status
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What follows an attempt's end."""

    status: Status
    steps: tuple[Step, ...]
    requeue: Requeue
    retry_count: int
    losses: int
    refusals: int
    delay: float = 0.0
    error: TaskError | None = None
    deferrals: int = 0


def reported_cause(
    ending: AttemptFailed | AttemptReleased | AttemptDeferred, started: bool, max_deferrals: int
) -> Cause:
    """The cause that a worker's report names. `started`: whether its CLI had been started on the task."""
    if isinstance(ending, AttemptDeferred):
        return Cause(Move.DEFER, LeaseEnd.RELEASED, retry.DEFERRED, deferral=Deferral(ending, max_deferrals))
    if isinstance(ending, AttemptFailed):
        move = Move.TIME_OUT if ending.error.reason == retry.TASK_TIMEOUT else Move.FAIL
        return Cause(move, LeaseEnd.FAILED, ending.error.reason, ending.error)
    reason = ending.reason.name
    if not started:
        return Cause(Move.GIVE_BACK, LeaseEnd.RELEASED, reason, refused=ending.reason is Release.REFUSED)
    error = TaskError(retry.WORKER_LOST, f"the worker gave the task back after its CLI had started ({reason})")
    return Cause(Move.LOSE, LeaseEnd.RELEASED, retry.WORKER_LOST, error, counted=False)


def loss_cause(message: str) -> Cause:
    """The cause of a lease that ran out, or whose run died with its worker."""
    return Cause(Move.LOSE, LeaseEnd.LOST, retry.WORKER_LOST, TaskError(retry.WORKER_LOST, message))


def resolve(status: Status, cause: Cause, counters: Counters, *, max_losses: int, jitter: float) -> Resolution:
    """What follows when an attempt in `status` ends for `cause`; `jitter` in [0, 1)."""
    if cause.deferral is not None:
        return _after_deferral(status, cause.deferral, counters, jitter)
    match cause.move:
        case Move.LOSE:
            return _after_loss(status, cause, counters, max_losses)
        case Move.GIVE_BACK:
            return _after_give_back(status, cause, counters, jitter)
        case Move.CANCEL_BY_FORCE:
            return _ended(status, cause, counters)
        case _:
            return _after_failure(status, cause, counters, jitter)


def _ended(status: Status, cause: Cause, counters: Counters) -> Resolution:
    target = after(status, cause.move)
    step = Step(status, target, cause.reason, cause.error.message if cause.error else "")
    return Resolution(target, (step,), Requeue.NOWHERE, counters.retry_count, 0, 0, error=cause.error)


def _after_failure(status: Status, cause: Cause, counters: Counters, jitter: float) -> Resolution:
    ended = _ended(status, cause, counters)
    retries = retry.retries_by_itself(
        cause.reason,
        auto_retry=counters.auto_retry,
        retry_count=counters.retry_count,
        max_retries=counters.max_retries,
    )
    if not retries:
        return ended
    number = counters.retry_count + 1
    delay = counters.backoff.before(number, jitter)
    again = Step(
        ended.status,
        after(ended.status, Move.RETRY),
        retry.AUTO_RETRY,
        f"retry {number} of {counters.max_retries} in {delay:.0f} s",
    )
    return Resolution(Status.PENDING, (*ended.steps, again), Requeue.BACKOFF, number, 0, 0, delay, cause.error)


def _after_loss(status: Status, cause: Cause, counters: Counters, max_losses: int) -> Resolution:
    losses = counters.losses + (1 if cause.counted else 0)
    ended = _ended(status, cause, counters)
    if cause.counted and losses >= max_losses:
        return Resolution(
            ended.status,
            ended.steps,
            Requeue.NOWHERE,
            counters.retry_count,
            losses,
            counters.refusals,
            error=cause.error,
            deferrals=counters.deferrals,
        )
    again = Step(ended.status, after(ended.status, Move.RETRY), retry.REQUEUED, "at once; no retry is consumed")
    return Resolution(
        Status.PENDING,
        (*ended.steps, again),
        Requeue.READY,
        counters.retry_count,
        losses,
        counters.refusals,
        error=cause.error,
        deferrals=counters.deferrals,
    )


def _after_give_back(status: Status, cause: Cause, counters: Counters, jitter: float) -> Resolution:
    retries, losses, deferrals = counters.retry_count, counters.losses, counters.deferrals
    if not cause.refused:
        step = Step(status, after(status, Move.GIVE_BACK), cause.reason)
        return Resolution(
            Status.PENDING, (step,), Requeue.KEPT, retries, losses, counters.refusals, deferrals=deferrals
        )
    refusals = counters.refusals + 1
    delay = retry.refusal_wait(refusals)
    if delay is None:
        error = TaskError(retry.NO_WORKER_ACCEPTS, f"refused {refusals} times in a row")
        return _after_failure(status, Cause(Move.FAIL, cause.end, error.reason, error), counters, jitter)
    step = Step(status, after(status, Move.GIVE_BACK), cause.reason, f"offered again in {delay:.0f} s")
    return Resolution(
        Status.PENDING, (step,), Requeue.KEPT_LATER, retries, losses, refusals, delay, deferrals=deferrals
    )


def _after_deferral(status: Status, deferral: Deferral, counters: Counters, jitter: float) -> Resolution:
    """The CLI ran, so that the rows of losses and refusals end. The task keeps no place: it comes back when it may."""
    deferrals = counters.deferrals + 1
    said = f": {deferral.asked.message}" if deferral.asked.message else ""
    if deferrals >= deferral.limit:
        error = TaskError(retry.DEFERRED, f"the CLI asked {deferrals} times in a row to come back later{said}")
        return _after_failure(status, Cause(Move.FAIL, LeaseEnd.FAILED, error.reason, error), counters, jitter)
    delay = retry.deferral_wait(deferral.asked.pause, jitter)
    step = Step(status, after(status, Move.DEFER), retry.DEFERRED, f"offered again in {delay:.0f} s{said}")
    return Resolution(Status.PENDING, (step,), Requeue.BACKOFF, counters.retry_count, 0, 0, delay, deferrals=deferrals)
