"""What callers can do wrong, and what can be away: raised anywhere inside; `api/errors.py` makes it a gRPC status."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scheduler_svc.domain.lifecycle import Status


class DomainError(Exception):
    """Base of all that a caller is told. `message` is for people; `metadata` for programs."""

    def __init__(self, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = metadata


@dataclass(frozen=True, slots=True)
class Violation:
    """One bad field: its path in the request, and what it should be."""

    field: str
    description: str


class InvalidArgument(DomainError):
    """A request with bad fields: all of them are named."""

    def __init__(self, violations: Iterable[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in self.violations))


class NotFound(DomainError):
    """No such task, content, account or worker."""

    def __init__(self, resource_type: str, resource_id: object) -> None:
        super().__init__(
            f"there is no {resource_type} {resource_id}", resource_type=resource_type, resource_id=str(resource_id)
        )


class InvalidState(DomainError):
    """The task (or whatever it is) stands where this call can't move it from."""

    def __init__(self, message: str, current: str, required: Iterable[str]) -> None:
        super().__init__(message, current_state=current, required_state=",".join(required))

    @classmethod
    def of_task(cls, task_id: str, what: str, current: Status, required: Iterable[Status]) -> InvalidState:
        """`what` completes "task … can't be …"."""
        wanted = [status.label for status in required]
        return cls(
            f"task {task_id} is {current.label}; to be {what} it must be {' or '.join(wanted)}", current.label, wanted
        )


class AccountInactive(DomainError):
    """The account takes no submits."""

    def __init__(self, account_id: int) -> None:
        super().__init__(
            f"account {account_id} is deactivated and takes no submits; set `active` by UpdateAccount to undo that",
            account_id=str(account_id),
        )


class RetriesExhausted(DomainError):
    """`max_retries` is used up."""

    def __init__(self, task_id: str, max_retries: int) -> None:
        super().__init__(f"task {task_id} has used its {max_retries} retries; `reset_retry_count` allows them anew")


class RequestIdConflict(DomainError):
    """The same request_id was used for something else."""

    def __init__(self, request_id: str, task_id: str) -> None:
        super().__init__(
            f"request_id {request_id!r} was used for {task_id} with another payload; use a new one", task_id=task_id
        )


class QueueFull(DomainError):
    """As many tasks are pending as the settings allow, without those that are scheduled for later than tomorrow."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the queue is full: {limit} tasks are pending and due by tomorrow; try again later")


class AccountQueueFull(DomainError):
    """As many tasks of the account are pending as its `max_pending_tasks` allows."""

    def __init__(self, account_id: int, pending: int, limit: int, more: int) -> None:
        super().__init__(
            f"account {account_id} has {pending} tasks pending and may have {limit} (its max_pending_tasks), and this"
            f" call adds {more}; {'submit fewer at a time' if more > limit else 'try again later'}",
            account_id=str(account_id),
        )


class ResumeTokenExpired(DomainError):
    """Moves after the token's are not kept any more, or it is of another history of the database."""

    def __init__(self) -> None:
        super().__init__(
            "the resume token is older than the events that are kept, or from before a restore; start anew without it"
        )


class WatcherTooSlow(DomainError):
    """A watcher reads more slowly than its tasks move."""

    def __init__(self, resume_token: str) -> None:
        super().__init__(
            "this watcher reads more slowly than its tasks move; go on with the resume token", resume_token=resume_token
        )


class TooManyWatchers(DomainError):
    """This replica has as many watchers as it takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this scheduler has {limit:,} watchers; try another one, or later")


class TooManyCalls(DomainError):
    """A caller has as many calls under way as it may. `which` says so, as a sentence without its end."""

    def __init__(self, which: str) -> None:
        super().__init__(f"{which} at this scheduler, and no more are taken; let some end first, then call again")


class WaitedTooLong(DomainError):
    """A call's turn did not come."""

    def __init__(self, within: float) -> None:
        super().__init__(
            f"this scheduler did not get to the call within {within:g} s; it shares itself fairly between callers, so"
            " have fewer calls in progress, and call again"
        )


class RequestTooSlow(DomainError):
    """The message of a call did not come."""

    def __init__(self, within: float) -> None:
        super().__init__(f"the request's message did not come within {within:g} s; send it with the call")


class StoreUnavailable(DomainError):
    """The database is away, or a commit's outcome is unknown."""

    def __init__(self, message: str = "the database is away; try again") -> None:
        super().__init__(message)


class LockTimeout(StoreUnavailable):
    """Somebody else holds a lock that this needs. Nothing of it was done."""

    def __init__(self) -> None:
        super().__init__("another session of the database holds a lock that this needs; try again")


class StatementTimeout(StoreUnavailable):
    """A statement took longer than it may. Nothing of its transaction was done."""

    def __init__(self) -> None:
        super().__init__("the database took too long over this; ask for less at once, or try again later")


class ShuttingDown(DomainError):
    """This replica is going away."""

    def __init__(self) -> None:
        super().__init__("this scheduler is shutting down; call again to reach another")


class TokenInvalid(DomainError):
    """No token, or none that is known."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; each call carries `authorization: Bearer TOKEN`, with a token of the tokens file")


class RoleForbidden(DomainError):
    """The token's role may not call this."""

    def __init__(self, name: str, role: str, rpc: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"token {name!r} has the role {role}; {rpc} is for {' and '.join(allowed)}",
            role=role,
            required_role=",".join(allowed),
        )


class AccountForbidden(DomainError):
    """The token is tied to other accounts. `what` it may not reach completes "is not tied to …"."""

    def __init__(self, name: str, what: str, **metadata: str) -> None:
        super().__init__(f"token {name!r} is tied to accounts, and not to {what}", **metadata)


class WorkerIdInUse(DomainError):
    """Another folder has this worker id, and was heard of within the lease time."""

    def __init__(self, worker_id: str, hostname: str) -> None:
        super().__init__(
            f"worker id {worker_id!r} is in use on {hostname}; stop that worker or give this one another id",
            worker_id=worker_id,
            hostname=hostname,
        )


class SessionReplaced(DomainError):
    """A newer hello of the same folder has been accepted; this stream is an old one."""

    def __init__(self, worker_id: str) -> None:
        super().__init__(f"a newer session of worker {worker_id!r} is open", worker_id=worker_id)
