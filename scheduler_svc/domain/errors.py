"""Errors that callers get, each with the code and reason of the gRPC status that `runtime/errors.py` makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, TypeVar

from scheduler_svc.domain.lifecycle import Labelled
from scheduler_svc.domain.worker import MAX_ACCOUNT_SELECTORS, MAX_SELECTORS

T = TypeVar("T")


class DomainError(Exception):
    """Base of all errors that callers get. `message` is human-readable, `metadata` machine-readable."""

    kinds: ClassVar[list[type[DomainError]]] = []
    """All its subclasses."""
    code: ClassVar[str]
    """The name of a google.rpc.Code."""
    reason: ClassVar[str]
    """As callers get it in google.rpc.ErrorInfo."""
    retry_after: float | None = None
    """Seconds after which to call again, for google.rpc.RetryInfo. None: it is not said."""

    def __init_subclass__(cls, *, code: str, reason: str, retry_after: float | None = None) -> None:
        cls.code, cls.reason, cls.retry_after = code, reason, retry_after
        DomainError.kinds.append(cls)

    def __init__(self, message: str, **metadata: str | int) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: Mapping[str, str] = {name: str(value) for name, value in metadata.items()}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """An invalid field: its path in the request, and what it should be."""

    field: str
    description: str


class InvalidArgument(DomainError, code="INVALID_ARGUMENT", reason="INVALID_ARGUMENT"):
    def __init__(self, violations: Iterable[FieldViolation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(f"{violation.field}: {violation.description}" for violation in self.violations))

    @classmethod
    def of(cls, field: str, description: str) -> InvalidArgument:
        """Returns the error of one field."""
        return cls([FieldViolation(field, description)])


class NotFound(DomainError, code="NOT_FOUND", reason="RESOURCE_NOT_FOUND"):
    def __init__(self, resource_type: str, resource_id: object) -> None:
        text = f"there is no {resource_type} {resource_id}"
        super().__init__(text, resource_type=resource_type, resource_id=str(resource_id))


def existing(resource: T | None, resource_type: str, resource_id: object) -> T:
    """Returns the resource. Raises NotFound if there is none."""
    if resource is None:
        raise NotFound(resource_type, resource_id)
    return resource


class InvalidState(DomainError, code="FAILED_PRECONDITION", reason="INVALID_STATE"):
    """The call can't move the task, or whatever it is about, from its present state."""

    def __init__(self, message: str, current: str, required: Iterable[str]) -> None:
        super().__init__(message, current_state=current, required_state=",".join(required))

    @classmethod
    def of(cls, subject: str, to_be: str, current: Labelled, required: Iterable[Labelled]) -> InvalidState:
        """`to_be`: what the call would do with it, such as "cancelled"."""
        labels = [state.label for state in required]
        text = f"{subject} is {current.label}; to be {to_be} it must be {' or '.join(labels)}"
        return cls(text, current.label, labels)


class EtagMismatch(DomainError, code="ABORTED", reason="ETAG_MISMATCH"):
    def __init__(self, content_id: int, etag: str) -> None:
        super().__init__(f"content {content_id} has changed since it was read; read it again for its etag", etag=etag)


class AccountInactive(DomainError, code="FAILED_PRECONDITION", reason="ACCOUNT_INACTIVE"):
    def __init__(self, account_id: int) -> None:
        text = f"account {account_id} is deactivated and takes no submits; set `active` by UpdateAccount to undo that"
        super().__init__(text, account_id=account_id)


class TooManySelectors(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_SELECTORS", retry_after=60):
    def __init__(self, account_id: int) -> None:
        text = (
            f"the open tasks have as many different worker selectors as there may be ({MAX_ACCOUNT_SELECTORS} that one"
            f" account brought, {MAX_SELECTORS:,} together): use one that is there, or try again once tasks have ended"
        )
        super().__init__(text, account_id=account_id)


class RetriesExhausted(DomainError, code="FAILED_PRECONDITION", reason="RETRIES_EXHAUSTED"):
    def __init__(self, task_id: str, max_retries: int) -> None:
        super().__init__(f"task {task_id} has used its {max_retries} retries; `reset_retry_count` allows them anew")


class RequestIdConflict(DomainError, code="ALREADY_EXISTS", reason="REQUEST_ID_CONFLICT"):
    def __init__(self, request_id: str, task_id: str) -> None:
        text = f"request_id {request_id!r} was used for {task_id} with another payload; use a new one"
        super().__init__(text, task_id=task_id)


class ResourceExists(DomainError, code="ALREADY_EXISTS", reason="RESOURCE_EXISTS"):
    def __init__(self, resource_type: str, account_id: int) -> None:
        text = f"a row of {resource_type} of account {account_id} exists already; nothing of the archive is stored"
        super().__init__(text, resource_type=resource_type, account_id=account_id)


class UniqueKeyInUse(DomainError, code="FAILED_PRECONDITION", reason="UNIQUE_KEY_IN_USE"):
    def __init__(self, task_id: str, holder_id: str) -> None:
        text = f"task {task_id} can't be retried while {holder_id}, which has its unique_key, is open"
        super().__init__(text, task_id=holder_id)


class QueueFull(DomainError, code="RESOURCE_EXHAUSTED", reason="QUEUE_FULL", retry_after=5):
    """The bound of pending tasks is reached. Tasks scheduled for later than tomorrow don't count."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the queue is full: {limit} tasks are pending and due by tomorrow; try again later")


class AccountQueueFull(DomainError, code="RESOURCE_EXHAUSTED", reason="ACCOUNT_QUEUE_FULL", retry_after=5):
    def __init__(self, account_id: int, pending: int, limit: int, more: int) -> None:
        super().__init__(
            f"account {account_id} has {pending} tasks pending and may have {limit} (its max_pending_tasks), and this"
            f" call adds {more}; {'submit fewer at a time' if more > limit else 'try again later'}",
            account_id=account_id,
        )


class AccountAssetsFull(DomainError, code="INVALID_ARGUMENT", reason="ACCOUNT_ASSETS_FULL"):
    def __init__(self, account_id: int, limit: int) -> None:
        super().__init__(
            f"account {account_id} may have {limit:,} bytes of assets (its max_asset_bytes, or the scheduler's"
            " CONTENTGEN_MAX_ASSET_BYTES), and this one would be beyond; leave it out of the result",
            account_id=account_id,
            limit=limit,
        )


class TooManySchedules(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_SCHEDULES"):
    def __init__(self, account_id: int, limit: int) -> None:
        text = f"account {account_id} has {limit:,} schedules, and may have no more; delete some"
        super().__init__(text, account_id=account_id, limit=limit)


class TooManyReviews(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_REVIEWS"):
    def __init__(self, reviewer: str, limit: int) -> None:
        text = f"{reviewer} holds {limit:,} reviews, and may hold no more at once; decide or release some"
        super().__init__(text, reviewer=reviewer, limit=limit)


class TooManyComments(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_COMMENTS"):
    def __init__(self, content_id: int, limit: int) -> None:
        text = f"content {content_id} has {limit:,} comments, and may have no more"
        super().__init__(text, content_id=content_id, limit=limit)


class TooManyWebhooks(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_WEBHOOKS"):
    def __init__(self, account_id: int, limit: int) -> None:
        subject = f"account {account_id} has" if account_id else "there are"
        super().__init__(f"{subject} {limit} webhooks, and no more are allowed; delete one", account_id=account_id)


class TooManyChannels(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_CHANNELS"):
    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} channels, and no more are allowed; delete one", limit=limit)


class ResumeTokenExpired(DomainError, code="OUT_OF_RANGE", reason="RESUME_TOKEN_EXPIRED"):
    def __init__(self) -> None:
        super().__init__(
            "the resume token is older than the events that are kept, or from before a restore; start anew without it"
        )


class WatcherTooSlow(DomainError, code="RESOURCE_EXHAUSTED", reason="WATCHER_TOO_SLOW"):
    def __init__(self, resume_token: str) -> None:
        super().__init__(
            "this watcher reads more slowly than its tasks move; go on with the resume token", resume_token=resume_token
        )


class WatchOverrun(DomainError, code="RESOURCE_EXHAUSTED", reason="WATCH_OVERRUN", retry_after=1):
    """The caller's watches have so much unread that the replica lags."""

    def __init__(self, resume_token: str) -> None:
        super().__init__(
            "this caller's watches have too many events unread; have fewer, read them, and go on with the resume token",
            resume_token=resume_token,
        )


class TooManyWatchers(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_WATCHERS", retry_after=5):
    def __init__(self, limit: int) -> None:
        super().__init__(f"this scheduler has {limit:,} watchers; try another one, or later")


class TooManyCalls(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_CALLS", retry_after=1):
    """The caller has its maximum of calls under way. `which` is that as a clause."""

    def __init__(self, which: str) -> None:
        super().__init__(f"{which} at this scheduler, and no more are taken; let some end first, then call again")


class WaitedTooLong(DomainError, code="RESOURCE_EXHAUSTED", reason="TOO_MANY_CALLS", retry_after=1):
    def __init__(self, within: float) -> None:
        super().__init__(
            f"this scheduler did not get to the call within {within:g} s; it shares itself fairly between callers, so"
            " have fewer calls in progress, and call again"
        )


class RequestTooSlow(DomainError, code="RESOURCE_EXHAUSTED", reason="REQUEST_TOO_SLOW"):
    def __init__(self, within: float) -> None:
        super().__init__(f"the request's message did not come within {within:g} s; send it with the call")


class StoreUnavailable(DomainError, code="UNAVAILABLE", reason="STORE_UNAVAILABLE", retry_after=1):
    """The database is away, or the outcome of a commit is unknown."""

    def __init__(self, message: str = "the database is away; try again") -> None:
        super().__init__(message)


class ChangesDelayed(DomainError, code="UNAVAILABLE", reason="CHANGES_DELAYED", retry_after=5):
    """A transaction that has drawn numbers of moves stays open: later ones can't be passed on before it ends."""

    def __init__(self, pid: int, database: str) -> None:
        """`pid`: the session's; 0: the transaction is prepared."""
        holder = f"session {pid}, which keeps a transaction open" if pid else "a prepared transaction"
        text = f"changes wait for {holder} in the database {database!r}; its operator has to end it"
        super().__init__(text, pid=pid, database=database)


class LockTimeout(StoreUnavailable, code="UNAVAILABLE", reason="LOCK_TIMEOUT", retry_after=1):
    """Another session holds a lock that the transaction needs. Nothing was committed."""

    def __init__(self) -> None:
        super().__init__("another session of the database holds a lock that this needs; try again")


class StatementTimeout(StoreUnavailable, code="UNAVAILABLE", reason="STATEMENT_TIMEOUT", retry_after=5):
    """A statement took too long. Nothing was committed."""

    def __init__(self) -> None:
        super().__init__("the database took too long over this; ask for less at once, or try again later")


class AssetStoreUnavailable(DomainError, code="UNAVAILABLE", reason="ASSET_STORE_UNAVAILABLE", retry_after=5):
    """The folder or the bucket of the assets can't be used, or lacks what it should have."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the store of assets (CONTENTGEN_ASSETS) is not available: {problem}; try again")


class LeaseLost(DomainError, code="FAILED_PRECONDITION", reason="LEASE_LOST"):
    """No result of this lease can count any more, for this caller."""

    def __init__(self, lease_id: str) -> None:
        super().__init__(f"lease {lease_id!r} takes no result from this worker any more", lease_id=lease_id)


class UnderMaintenance(DomainError, code="UNAVAILABLE", reason="MAINTENANCE"):
    def __init__(self, until_time: datetime, reason: str, retry_after: float) -> None:
        until = until_time.isoformat(timespec="seconds")
        text = f"no new tasks are taken until {until}{reason and f': {reason}'}; submit again then"
        super().__init__(text, until_time=until)
        self.retry_after = retry_after


class ShuttingDown(DomainError, code="UNAVAILABLE", reason="SHUTTING_DOWN", retry_after=1):
    def __init__(self) -> None:
        super().__init__("this scheduler is shutting down; call again to reach another")


class TokenInvalid(DomainError, code="UNAUTHENTICATED", reason="TOKEN_INVALID"):
    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; each call carries `authorization: Bearer TOKEN`, with a token of the tokens file")


class RoleForbidden(DomainError, code="PERMISSION_DENIED", reason="ROLE_FORBIDDEN"):
    def __init__(self, name: str, role: str, rpc: str, allowed: Sequence[str]) -> None:
        text = f"token {name!r} has the role {role}; {rpc} is for {' and '.join(allowed)}"
        super().__init__(text, role=role, required_role=",".join(allowed))


class AccountForbidden(DomainError, code="PERMISSION_DENIED", reason="ACCOUNT_FORBIDDEN"):
    """The token is tied to other accounts. `what` completes "is not tied to …"."""

    def __init__(self, name: str, what: str, **metadata: str | int) -> None:
        super().__init__(f"token {name!r} is tied to accounts, and not to {what}", **metadata)


class DelegationForbidden(DomainError, code="PERMISSION_DENIED", reason="DELEGATION_FORBIDDEN"):
    """A call names a person for whom its token may not act, or names none though its token only acts for persons."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"token {name!r} does not act for this person: {why}")


class WorkerIdInUse(DomainError, code="ALREADY_EXISTS", reason="WORKER_ID_IN_USE"):
    """Another folder uses this worker id, and was active within the lease time."""

    def __init__(self, worker_id: str, hostname: str) -> None:
        text = f"worker id {worker_id!r} is in use on {hostname}; stop that worker or give this one another id"
        super().__init__(text, worker_id=worker_id, hostname=hostname)


class SessionReplaced(DomainError, code="ABORTED", reason="SESSION_REPLACED"):
    """A newer session of the same folder is open; this stream belongs to an old one."""

    def __init__(self, worker_id: str) -> None:
        super().__init__(f"a newer session of worker {worker_id!r} is open", worker_id=worker_id)
