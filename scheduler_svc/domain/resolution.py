"""Attempt resolution: what follows for a task when an attempt ends without a result: status, retry, requeue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from scheduler_svc.domain import lifecycle
from scheduler_svc.domain.lease import AttemptDeferred, AttemptFailed, AttemptReleased, LeaseEnd, Release
from scheduler_svc.domain.lifecycle import DEFAULT_BACKOFF, Move, RetryBackoff, Status, after
from scheduler_svc.domain.task import TaskError


class Requeue(Enum):
    NOWHERE = "nowhere"  # it has ended
    READY = "ready"  # ready, with a new tag
    KEPT = "kept"  # ready, with the tag that it had
    BACKOFF = "backoff"  # after `delay` seconds, with a new tag
    KEPT_LATER = "kept later"  # after `delay` seconds, with the tag that it had


@dataclass(frozen=True, slots=True)
class Deferral:
    """A deferral that a CLI asked for; the one numbered `limit` in a row is a failure."""

    asked: AttemptDeferred
    limit: int


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an attempt ended. `error` None: nothing went wrong."""

    move: Move  # FAIL, TIME_OUT, LOSE, RELEASE, DEFER or CANCEL_BY_FORCE
    end: LeaseEnd
    reason: str
    error: TaskError | None = None
    counted: bool = True  # False: a LOSE that is not the worker's fault
    refused: bool = False
    deferral: Deferral | None = None  # of a DEFER


@dataclass(frozen=True, slots=True)
class Counters:
    """What a task has used up, and its backoff."""

    retry_count: int
    max_retries: int
    auto_retry: bool
    losses: int
    refusals: int
    deferrals: int = 0
    backoff: RetryBackoff = DEFAULT_BACKOFF


@dataclass(frozen=True, slots=True)
class Step:
    source: Status
    target: Status
    reason: str
    message: str = ""


STARTED = Step(Status.SUBMITTED, Status.PROCESSING, "STARTED")
_COMPLETED = Step(Status.PROCESSING, Status.COMPLETED, "COMPLETED")
COMPLETIONS: Mapping[int, tuple[Step, ...]] = {
    Status.PENDING: (Step(Status.PENDING, Status.COMPLETED, "COMPLETED_LATE"),),
    Status.SUBMITTED: (STARTED, _COMPLETED),
    Status.PROCESSING: (_COMPLETED,),
}
"""The moves of a task that completes, by its status until then. One whose lease has expired is pending."""


@dataclass(frozen=True, slots=True)
class Resolution:
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
    """Returns the cause in a worker's report. `started`: whether its CLI had started on the task."""
    if isinstance(ending, AttemptDeferred):
        return Cause(Move.DEFER, LeaseEnd.RELEASED, lifecycle.DEFERRED, deferral=Deferral(ending, max_deferrals))
    if isinstance(ending, AttemptFailed):
        move = Move.TIME_OUT if ending.error.reason == lifecycle.TASK_TIMEOUT else Move.FAIL
        return Cause(move, LeaseEnd.FAILED, ending.error.reason, ending.error)
    reason = ending.reason.name
    if not started:
        return Cause(Move.RELEASE, LeaseEnd.RELEASED, reason, refused=ending.reason is Release.REFUSED)
    error = TaskError(lifecycle.WORKER_LOST, f"the worker released the task after its CLI had started ({reason})")
    return Cause(Move.LOSE, LeaseEnd.RELEASED, lifecycle.WORKER_LOST, error, counted=False)


def loss_cause(message: str) -> Cause:
    return Cause(Move.LOSE, LeaseEnd.LOST, lifecycle.WORKER_LOST, TaskError(lifecycle.WORKER_LOST, message))


def resolve(status: Status, cause: Cause, counters: Counters, *, max_losses: int, jitter: float) -> Resolution:
    """Returns what follows when an attempt in `status` ends; `jitter` in [0, 1)."""
    if cause.deferral is not None:
        return _after_deferral(status, cause.deferral, counters, jitter)
    match cause.move:
        case Move.LOSE:
            return _after_loss(status, cause, counters, max_losses)
        case Move.RELEASE:
            return _after_release(status, cause, counters, jitter)
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
    number, most = counters.retry_count + 1, counters.max_retries
    if not lifecycle.is_auto_retried(
        cause.reason, auto_retry=counters.auto_retry, retry_count=counters.retry_count, max_retries=most
    ):
        return ended
    delay = counters.backoff.before(number, jitter)
    retry = after(ended.status, Move.RETRY)
    step = Step(ended.status, retry, lifecycle.AUTO_RETRY, f"retry {number} of {most} in {delay:.0f} s")
    return Resolution(retry, (*ended.steps, step), Requeue.BACKOFF, number, 0, 0, delay, cause.error)


def _after_loss(status: Status, cause: Cause, counters: Counters, max_losses: int) -> Resolution:
    ended = replace(
        _ended(status, cause, counters),
        losses=counters.losses + cause.counted,
        refusals=counters.refusals,
        deferrals=counters.deferrals,
    )
    if cause.counted and ended.losses >= max_losses:
        return ended
    retry = after(ended.status, Move.RETRY)
    step = Step(ended.status, retry, lifecycle.REQUEUED, "at once; no retry is consumed")
    return replace(ended, status=retry, steps=(*ended.steps, step), requeue=Requeue.READY)


def _after_release(status: Status, cause: Cause, counters: Counters, jitter: float) -> Resolution:
    requeue, refusals, delay, detail = Requeue.KEPT, counters.refusals, 0.0, ""
    if cause.refused:
        refusals += 1
        wait = lifecycle.refusal_wait(refusals)
        if wait is None:
            error = TaskError(lifecycle.NO_WORKER_ACCEPTS, f"refused {refusals} times in a row")
            return _after_failure(status, Cause(Move.FAIL, cause.end, error.reason, error), counters, jitter)
        requeue, delay, detail = Requeue.KEPT_LATER, wait, f"offered again in {wait:.0f} s"
    target = after(status, Move.RELEASE)
    steps = (Step(status, target, cause.reason, detail),)
    retries, losses, deferrals = counters.retry_count, counters.losses, counters.deferrals
    return Resolution(target, steps, requeue, retries, losses, refusals, delay, deferrals=deferrals)


def _after_deferral(status: Status, deferral: Deferral, counters: Counters, jitter: float) -> Resolution:
    """The CLI ran, which ends the rows of losses and refusals. The task gets a new tag when it is due."""
    deferrals = counters.deferrals + 1
    detail = f": {deferral.asked.message}" if deferral.asked.message else ""
    if deferrals >= deferral.limit:
        error = TaskError(lifecycle.DEFERRED, f"the CLI asked {deferrals} times in a row to come back later{detail}")
        return _after_failure(status, Cause(Move.FAIL, LeaseEnd.FAILED, error.reason, error), counters, jitter)
    delay = lifecycle.deferral_wait(deferral.asked.pause, jitter)
    step = Step(status, after(status, Move.DEFER), lifecycle.DEFERRED, f"offered again in {delay:.0f} s{detail}")
    return Resolution(Status.PENDING, (step,), Requeue.BACKOFF, counters.retry_count, 0, 0, delay, deferrals=deferrals)
