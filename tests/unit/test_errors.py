"""The table of errors: each domain error has its status, its reason and its details, and all of it stays small."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import pytest
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus

from scheduler_svc.domain import errors
from scheduler_svc.domain.errors import DomainError, FieldViolation
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.runtime.errors import ERROR_STATUSES, internal_status, status_of, undecodable_message

Detail = TypeVar("Detail", bound=Message)

CASES = [
    (
        errors.InvalidArgument([FieldViolation("topic", "is required"), FieldViolation("priority", "must be 1 to 10")]),
        Code.INVALID_ARGUMENT,
        "INVALID_ARGUMENT",
        {},
    ),
    (
        errors.NotFound("content", 7),
        Code.NOT_FOUND,
        "RESOURCE_NOT_FOUND",
        {"resource_type": "content", "resource_id": "7"},
    ),
    (
        errors.InvalidState.of_task("task-1", "retried", Status.PENDING, [Status.FAILED, Status.TIMEOUT]),
        Code.FAILED_PRECONDITION,
        "INVALID_STATE",
        {"current_state": "pending", "required_state": "failed,timeout"},
    ),
    (errors.EtagMismatch(7, "an etag"), Code.ABORTED, "ETAG_MISMATCH", {"etag": "an etag"}),
    (errors.AccountInactive(3), Code.FAILED_PRECONDITION, "ACCOUNT_INACTIVE", {"account_id": "3"}),
    (errors.RetriesExhausted("task-1", 3), Code.FAILED_PRECONDITION, "RETRIES_EXHAUSTED", {}),
    (errors.RequestIdConflict("id", "task-1"), Code.ALREADY_EXISTS, "REQUEST_ID_CONFLICT", {"task_id": "task-1"}),
    (errors.UniqueKeyInUse("task-1", "task-2"), Code.FAILED_PRECONDITION, "UNIQUE_KEY_IN_USE", {"task_id": "task-2"}),
    (errors.QueueFull(10), Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", {}),
    (
        errors.TooManySchedules(3, 9),
        Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_SCHEDULES",
        {"account_id": "3", "limit": "9"},
    ),
    (errors.AccountQueueFull(3, 9, 10, 2), Code.RESOURCE_EXHAUSTED, "ACCOUNT_QUEUE_FULL", {"account_id": "3"}),
    (
        errors.TooManyReviews("anna", 100),
        Code.RESOURCE_EXHAUSTED,
        "TOO_MANY_REVIEWS",
        {"reviewer": "anna", "limit": "100"},
    ),
    (errors.TooManyWebhooks(3, 20), Code.RESOURCE_EXHAUSTED, "TOO_MANY_WEBHOOKS", {"account_id": "3"}),
    (errors.ResumeTokenExpired(), Code.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED", {}),
    (errors.WatcherTooSlow("a token"), Code.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW", {"resume_token": "a token"}),
    (errors.WatchOverrun("a token"), Code.RESOURCE_EXHAUSTED, "WATCH_OVERRUN", {"resume_token": "a token"}),
    (errors.TooManyWatchers(10), Code.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS", {}),
    (errors.TooManyCalls("1,000 calls are under way"), Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", {}),
    (errors.WaitedTooLong(10), Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", {}),
    (errors.RequestTooSlow(30), Code.RESOURCE_EXHAUSTED, "REQUEST_TOO_SLOW", {}),
    (errors.StoreUnavailable(), Code.UNAVAILABLE, "STORE_UNAVAILABLE", {}),
    (
        errors.ChangesDelayed(7, "db"),
        Code.UNAVAILABLE,
        "CHANGES_DELAYED",
        {"pid": "7", "database": "db"},
    ),
    (errors.LockTimeout(), Code.UNAVAILABLE, "LOCK_TIMEOUT", {}),
    (errors.StatementTimeout(), Code.UNAVAILABLE, "STATEMENT_TIMEOUT", {}),
    (errors.ShuttingDown(), Code.UNAVAILABLE, "SHUTTING_DOWN", {}),
    (
        errors.WorkerIdInUse("w1", "host"),
        Code.ALREADY_EXISTS,
        "WORKER_ID_IN_USE",
        {"worker_id": "w1", "hostname": "host"},
    ),
    (errors.TokenInvalid("no token is given"), Code.UNAUTHENTICATED, "TOKEN_INVALID", {}),
    (
        errors.RoleForbidden("blog", "client", "AccountService/CreateAccount", ["operator"]),
        Code.PERMISSION_DENIED,
        "ROLE_FORBIDDEN",
        {"role": "client", "required_role": "operator"},
    ),
    (
        errors.AccountForbidden("blog", "account 7", account_id="7"),
        Code.PERMISSION_DENIED,
        "ACCOUNT_FORBIDDEN",
        {"account_id": "7"},
    ),
    (errors.AssetStoreUnavailable("No space left on device"), Code.UNAVAILABLE, "ASSET_STORE_UNAVAILABLE", {}),
    (
        errors.AccountAssetsFull(7, 1_000),
        Code.INVALID_ARGUMENT,
        "ACCOUNT_ASSETS_FULL",
        {"account_id": "7", "limit": "1000"},
    ),
    (errors.LeaseLost("lease-1"), Code.FAILED_PRECONDITION, "LEASE_LOST", {"lease_id": "lease-1"}),
    (errors.SessionReplaced("w1"), Code.ABORTED, "SESSION_REPLACED", {"worker_id": "w1"}),
]


def detail(status: RpcStatus, kind: type[Detail]) -> Detail | None:
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def subclasses(kind: type[DomainError]) -> Iterator[type[DomainError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_every_domain_error_is_in_the_table_and_shown_here() -> None:
    assert set(ERROR_STATUSES) == set(subclasses(DomainError)) == {type(case[0]) for case in CASES}


@pytest.mark.parametrize(("error", "code", "reason", "metadata"), CASES, ids=lambda value: type(value).__name__)
def test_an_error_is_told_with_its_code_reason_and_metadata(
    error: DomainError, code: int, reason: str, metadata: dict[str, str]
) -> None:
    status = status_of(error)
    info = detail(status, ErrorInfo)
    assert info is not None
    assert (status.code, info.reason, info.domain, dict(info.metadata)) == (code, reason, "contentgen", metadata)
    assert status.message == error.message


@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case[0]).__name__)
def test_details_say_more_where_there_is_more(case: tuple[DomainError, int, str, dict[str, str]]) -> None:
    error, code, reason, _ = case
    status = status_of(error)
    assert (detail(status, BadRequest) is not None) == isinstance(error, errors.InvalidArgument)
    failure = detail(status, PreconditionFailure)
    assert (failure is not None) == (code == Code.FAILED_PRECONDITION)
    assert failure is None or [violation.type for violation in failure.violations] == [reason]
    retry = detail(status, RetryInfo)
    no_wait_helps = isinstance(
        error,
        errors.WatcherTooSlow
        | errors.RequestTooSlow
        | errors.TooManySchedules
        | errors.TooManyReviews
        | errors.TooManyWebhooks,
    )
    assert (retry is not None) == (code in {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED} and not no_wait_helps)
    assert retry is None or retry.retry_delay.seconds >= 1


def test_every_violation_is_named() -> None:
    bad = detail(status_of(CASES[0][0]), BadRequest)
    assert bad is not None
    assert [(violation.field, violation.description) for violation in bad.field_violations] == [
        ("topic", "is required"),
        ("priority", "must be 1 to 10"),
    ]


def test_undecodable_bytes_are_an_invalid_argument() -> None:
    assert status_of(undecodable_message()).code == Code.INVALID_ARGUMENT


def test_a_defect_is_told_without_what_it_was() -> None:
    status = internal_status()
    assert status.code == Code.INTERNAL
    info = detail(status, ErrorInfo)
    assert info is not None
    assert info.reason == "INTERNAL"


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidArgument([FieldViolation(f"requests[{i}].topic", "is required 😀") for i in range(10_000)]),
        errors.NotFound("task", "😀" * 1_000_000),
        errors.RequestIdConflict("😀" * 200, "task-0123456789abcdef"),
        errors.WorkerIdInUse("😀" * 200, "😀" * 10_000),
        errors.InvalidState("😀" * 10_000, "pending", ["failed"]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_status_stays_below_what_a_client_takes_in_trailers(error: DomainError) -> None:
    assert status_of(error).ByteSize() < 6 * 1024


def test_violations_that_do_not_fit_are_counted() -> None:
    error = errors.InvalidArgument([FieldViolation(f"requests[{i}].topic", "is required") for i in range(1_000)])
    bad = detail(status_of(error), BadRequest)
    assert bad is not None
    named = len(bad.field_violations) - 1
    assert named > 50
    assert bad.field_violations[-1].description == f"and {1_000 - named} more"
