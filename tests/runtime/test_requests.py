"""Errors, public ids, pages and the rows of RPCs."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from hypothesis import example, given
from hypothesis import strategies as st

from contentgen.rpcs import METHODS, RPCS, Change
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.config.tokens import ROLES
from scheduler_svc.domain import errors
from scheduler_svc.domain.errors import DomainError, FieldViolation, InvalidArgument
from scheduler_svc.domain.ids import (
    KEY_MAX,
    MAX_CELL,
    SEQUENCE_BITS,
    LeaseRef,
    format_task_id,
    make_key,
    parse_lease_id,
    parse_task_id,
)
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.runtime.errors import status_of
from scheduler_svc.runtime.pages import MAX_PAGE_BYTES, PageRequest, selection
from scheduler_svc.runtime.validation import Violations

pytestmark = pytest.mark.unit


# The table of errors: each domain error has its status, its reason and its details, and all of it stays small.


Detail = TypeVar("Detail", bound=Message)
Case = tuple[DomainError, int, str, dict[str, str]]


def case(error: DomainError, code: int, reason: str, **metadata: str) -> Case:
    return error, code, reason, metadata


VIOLATIONS = [FieldViolation("topic", "is required"), FieldViolation("priority", "must be 1 to 10")]
NOT_RETRYABLE = errors.InvalidState.of("task task-1", "retried", Status.PENDING, [Status.FAILED, Status.TIMEOUT])
NOT_ALLOWED = errors.RoleForbidden("blog", "client", "AccountService/CreateAccount", ["operator"])
NOT_TIED = errors.AccountForbidden("blog", "account 7", account_id="7")
CASES = [
    case(errors.InvalidArgument(VIOLATIONS), Code.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    case(errors.NotFound("content", 7), Code.NOT_FOUND, "RESOURCE_NOT_FOUND", resource_type="content", resource_id="7"),
    case(
        NOT_RETRYABLE,
        Code.FAILED_PRECONDITION,
        "INVALID_STATE",
        current_state="pending",
        required_state="failed,timeout",
    ),
    case(errors.EtagMismatch(7, "an etag"), Code.ABORTED, "ETAG_MISMATCH", etag="an etag"),
    case(errors.AccountInactive(3), Code.FAILED_PRECONDITION, "ACCOUNT_INACTIVE", account_id="3"),
    case(errors.RetriesExhausted("task-1", 3), Code.FAILED_PRECONDITION, "RETRIES_EXHAUSTED"),
    case(errors.RequestIdConflict("id", "task-1"), Code.ALREADY_EXISTS, "REQUEST_ID_CONFLICT", task_id="task-1"),
    case(
        errors.ResourceExists("tasks", 3), Code.ALREADY_EXISTS, "RESOURCE_EXISTS", resource_type="tasks", account_id="3"
    ),
    case(errors.UniqueKeyInUse("task-1", "task-2"), Code.FAILED_PRECONDITION, "UNIQUE_KEY_IN_USE", task_id="task-2"),
    case(errors.QueueFull(10), Code.RESOURCE_EXHAUSTED, "QUEUE_FULL"),
    case(errors.TooManySchedules(3, 9), Code.RESOURCE_EXHAUSTED, "TOO_MANY_SCHEDULES", account_id="3", limit="9"),
    case(errors.AccountQueueFull(3, 9, 10, 2), Code.RESOURCE_EXHAUSTED, "ACCOUNT_QUEUE_FULL", account_id="3"),
    case(errors.TooManySelectors(3), Code.RESOURCE_EXHAUSTED, "TOO_MANY_SELECTORS", account_id="3"),
    case(errors.TooManyComments(1, 9), Code.RESOURCE_EXHAUSTED, "TOO_MANY_COMMENTS", content_id="1", limit="9"),
    case(errors.TooManyReviews("anna", 100), Code.RESOURCE_EXHAUSTED, "TOO_MANY_REVIEWS", reviewer="anna", limit="100"),
    case(errors.TooManyChannels(100), Code.RESOURCE_EXHAUSTED, "TOO_MANY_CHANNELS", limit="100"),
    case(errors.DelegationForbidden("console", "no"), Code.PERMISSION_DENIED, "DELEGATION_FORBIDDEN"),
    case(errors.TooManyWebhooks(3, 20), Code.RESOURCE_EXHAUSTED, "TOO_MANY_WEBHOOKS", account_id="3"),
    case(errors.ResumeTokenExpired(), Code.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED"),
    case(errors.WatcherTooSlow("a token"), Code.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW", resume_token="a token"),
    case(errors.WatchOverrun("a token"), Code.RESOURCE_EXHAUSTED, "WATCH_OVERRUN", resume_token="a token"),
    case(errors.TooManyWatchers(10), Code.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS"),
    case(errors.TooManyCalls("1,000 calls are under way"), Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"),
    case(errors.WaitedTooLong(10), Code.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS"),
    case(errors.RequestTooSlow(30), Code.RESOURCE_EXHAUSTED, "REQUEST_TOO_SLOW"),
    case(errors.StoreUnavailable(), Code.UNAVAILABLE, "STORE_UNAVAILABLE"),
    case(errors.ChangesDelayed(7, "db"), Code.UNAVAILABLE, "CHANGES_DELAYED", pid="7", database="db"),
    case(errors.LockTimeout(), Code.UNAVAILABLE, "LOCK_TIMEOUT"),
    case(errors.StatementTimeout(), Code.UNAVAILABLE, "STATEMENT_TIMEOUT"),
    case(
        errors.UnderMaintenance(datetime(2026, 1, 2, tzinfo=UTC), "new disks", 7.0),
        Code.UNAVAILABLE,
        "MAINTENANCE",
        until_time="2026-01-02T00:00:00+00:00",
    ),
    case(errors.ShuttingDown(), Code.UNAVAILABLE, "SHUTTING_DOWN"),
    case(errors.WorkerIdInUse("w", "host"), Code.ALREADY_EXISTS, "WORKER_ID_IN_USE", worker_id="w", hostname="host"),
    case(errors.TokenInvalid("no token is given"), Code.UNAUTHENTICATED, "TOKEN_INVALID"),
    case(NOT_ALLOWED, Code.PERMISSION_DENIED, "ROLE_FORBIDDEN", role="client", required_role="operator"),
    case(NOT_TIED, Code.PERMISSION_DENIED, "ACCOUNT_FORBIDDEN", account_id="7"),
    case(errors.AssetStoreUnavailable("No space left on device"), Code.UNAVAILABLE, "ASSET_STORE_UNAVAILABLE"),
    case(errors.AccountAssetsFull(7, 9), Code.INVALID_ARGUMENT, "ACCOUNT_ASSETS_FULL", account_id="7", limit="9"),
    case(errors.LeaseLost("lease-1"), Code.FAILED_PRECONDITION, "LEASE_LOST", lease_id="lease-1"),
    case(errors.SessionReplaced("w1"), Code.ABORTED, "SESSION_REPLACED", worker_id="w1"),
]
NO_WAIT_HELPS = (
    errors.WatcherTooSlow
    | errors.RequestTooSlow
    | errors.TooManySchedules
    | errors.TooManyReviews
    | errors.TooManyComments
    | errors.TooManyChannels
    | errors.TooManyWebhooks
)


def detail(status: RpcStatus, kind: type[Detail]) -> Detail | None:
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            return message
    return None


def test_every_domain_error_is_shown_here() -> None:
    assert set(DomainError.kinds) == {type(error) for error, *_ in CASES}


@pytest.mark.parametrize(("error", "code", "reason", "metadata"), CASES, ids=lambda value: type(value).__name__)
def test_an_error_is_told_with_its_code_reason_and_details(
    error: DomainError, code: int, reason: str, metadata: dict[str, str]
) -> None:
    status = status_of(error)
    info = detail(status, ErrorInfo)
    assert info is not None
    assert (status.code, info.reason, info.domain, dict(info.metadata)) == (code, reason, "contentgen", metadata)
    assert status.message == error.message
    bad = detail(status, BadRequest)
    named = [(violation.field, violation.description) for violation in bad.field_violations] if bad else []
    assert named == ([("topic", "is required"), ("priority", "must be 1 to 10")] if error is CASES[0][0] else [])
    failure = detail(status, PreconditionFailure)
    assert (failure is not None) == (code == Code.FAILED_PRECONDITION)
    assert failure is None or [violation.type for violation in failure.violations] == [reason]
    retry, waits = detail(status, RetryInfo), not isinstance(error, NO_WAIT_HELPS)
    assert (retry is not None) == (code in {Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED} and waits)
    assert retry is None or retry.retry_delay.seconds >= 1


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


# Public ids, and what can't be one.


MILLISECONDS_2200 = 7_258_118_400_000


@given(st.integers(1, KEY_MAX), st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_ids_lead_back_to_the_key_and_with_its_attempt_to_the_lease(key: int, attempt: int, fence: int) -> None:
    task_id, ref = format_task_id(key), LeaseRef(key, attempt, fence)
    assert re.fullmatch("task-[0-9a-f]{12,}", task_id)
    assert parse_task_id(task_id) == key
    assert parse_lease_id(ref.lease_id, attempt) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "task-",
        "task-0000000000000000",  # no task has key 0
        "task-ffffffffffffffff",  # above what a key can be
        "task-123456789ab",
        "task-0123456789ABCDEF",
        "task-0123456789abcdef ",
        "task-0123456789abcdef\n",
        "task-0123456789abcdefg",
        " task-0123456789abcdef",
        "task-٠١٢٣٤٥٦٧٨٩abcdef",
        "lease-0123456789abcdef",
    ],
)
def test_invalid_task_ids_are_refused(text: str) -> None:
    assert parse_task_id(text) is None


@pytest.mark.parametrize(
    ("text", "attempt"),
    [
        ("", 1),
        ("lease-0123456789abcdef", 1),
        ("lease-0123456789abcdef-0123456", 1),
        ("lease-0123456789abcdef-01234567\n", 1),
        ("lease-0123456789abcdef-0123456G", 1),
        ("lease-0123456789abcdef-ffffffff", 1),  # a fence has 31 bits
        ("lease-ffffffffffffffff-01234567", 1),
        ("lease-0123456789abcdef-01234567", 0),
        ("lease-0123456789abcdef-01234567", -1),
        ("lease-0123456789abcdef-01234567", 1 << 31),
    ],
)
def test_invalid_lease_ids_are_refused(text: str, attempt: int) -> None:
    assert parse_lease_id(text, attempt) is None


@given(st.text(max_size=40))
def test_any_text_is_an_id_or_none(text: str) -> None:
    key = parse_task_id(text)
    assert key is None or format_task_id(key) == text


@given(st.integers(1, MILLISECONDS_2200), st.integers(0, 2**40), st.integers(1, 2 ** (SEQUENCE_BITS - 1) - 1))
def test_a_key_fits_a_bigint_and_holds_its_millisecond(milliseconds: int, sequence: int, apart: int) -> None:
    """So keys grow with time, whatever the sequence; two of one millisecond differ."""
    key = make_key(milliseconds, sequence)
    assert 0 < key <= KEY_MAX
    assert key >> SEQUENCE_BITS == milliseconds
    assert key != make_key(milliseconds, sequence + apart)


@given(st.integers(1, MILLISECONDS_2200), st.lists(st.integers(0, MAX_CELL), min_size=2, max_size=2, unique=True))
def test_no_two_cells_make_the_same_key(milliseconds: int, cells: list[int]) -> None:
    first, second = ({make_key(milliseconds, number, cell) for number in range(2_000)} for cell in cells)
    assert first.isdisjoint(second)
    assert {key >> SEQUENCE_BITS for key in first | second} == {milliseconds}
    assert max(first | second) <= KEY_MAX


# Page sizes and tokens, and where a page ends.


KIB = 1024


def page(*scope: object, size: int = 0, token: str = "") -> PageRequest[int]:
    with Violations() as bad:
        return PageRequest.of(pb.ListTasksRequest(page_size=size, page_token=token), bad, *scope)


def cut(page: PageRequest[int], numbers: list[int], topic: str = "") -> tuple[list[int], str]:
    rows, token = page.cut(numbers, lambda n: task_pb2.Task(account_id=n, topic=topic), lambda n: n)
    return [row.account_id for row in rows], token


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)])
def test_a_page_size_has_a_default_which_may_be_the_list_s_own_and_a_maximum(asked: int, given: int) -> None:
    assert page("list", size=asked).size == given
    assert page_of_names(asked).size == (given if asked else 20_000)


def test_a_negative_page_size_and_a_bad_token_are_both_named() -> None:
    with pytest.raises(InvalidArgument) as raised:
        page("list", size=-1, token="x")
    assert [violation.field for violation in raised.value.violations] == ["page_size", "page_token"]


def test_a_full_page_has_the_token_of_the_next() -> None:
    first = page("list", 7, size=3)
    assert first.limit == 4
    numbers, token = cut(first, [9, 8, 7, 6])
    assert numbers == [9, 8, 7]
    second = page("list", 7, size=3, token=token)
    assert second.position == 7
    for last in ([6], [], [6, 5, 4]):
        assert cut(second, last) == (last, ""), "the last page has no token, even if it is full"


def test_a_page_that_stopped_early_has_a_token_for_the_rest() -> None:
    def stopped(numbers: list[int]) -> str:
        return first.cut(numbers, lambda n: task_pb2.Task(account_id=n), lambda n: n, rest=4)[1]

    first = page("list", size=2)
    for numbers in ([], [9], [9, 8]):
        assert page("list", token=stopped(numbers)).position == 4
    assert page("list", token=stopped([9, 8, 7])).position == 8, "it is full before that"


def test_a_page_ends_before_it_exceeds_3_mib() -> None:
    numbers, token = cut(page("list", size=1_000), list(range(1_000, 0, -1)), topic="x" * 4 * KIB)
    assert len(numbers) == MAX_PAGE_BYTES // (4 * KIB + 10)
    assert page("list", token=token).position == numbers[-1]


def test_a_page_has_at_least_one_item() -> None:
    numbers, token = cut(page("list"), [2, 1], topic="x" * (MAX_PAGE_BYTES + 1))
    assert numbers == [2]
    assert token


@pytest.mark.parametrize("other", [("list", 8), ("other", 7), ("list",), ("list", "7")])
def test_a_token_is_bound_to_its_list_and_filter(other: tuple[object, ...]) -> None:
    token = cut(page("list", 7, size=1), [2, 1])[1]
    with pytest.raises(InvalidArgument):
        page(*other, token=token)


def forged(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize("position", [0, -1, KEY_MAX + 1, 1.0, True, None, "1", [1]])
def test_a_forged_position_is_refused(position: object) -> None:
    scope = page("list").fingerprint
    assert page("list", token=forged([1, scope])).position == 1
    with pytest.raises(InvalidArgument):
        page("list", token=forged([position, scope]))


def page_of_names(size: int = 0, token: str = "") -> PageRequest[str]:
    with Violations() as bad:
        request = pb.ListTasksRequest(page_size=size, page_token=token)
        return PageRequest.of_names(request, bad, "names", default_size=20_000)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_a_position_may_be_a_name(name: str) -> None:
    rows, token = page_of_names(1).cut(
        [name, "the next"], lambda topic: task_pb2.Task(topic=topic), lambda topic: topic
    )
    assert [row.topic for row in rows] == [name]
    assert page_of_names(token=token).position == name


@pytest.mark.parametrize("position", ["", 1, None, "n" * 201, "n\0", "n\ud800", ["n"]])
def test_a_forged_name_is_refused(position: object) -> None:
    scope = page_of_names().fingerprint
    assert page_of_names(token=forged(["n", scope])).position == "n"
    with pytest.raises(InvalidArgument):
        page_of_names(token=forged([position, scope]))


NESTED = base64.urlsafe_b64encode(b"[" * 2_900).decode()


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
@example(NESTED)
@example("[" * 100_000)
def test_garbage_is_refused_as_a_token(token: str) -> None:
    if token:
        with pytest.raises(InvalidArgument):
            page("list", token=token.encode(errors="replace").decode())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_another_json_document_is_refused_as_a_token(document: object) -> None:
    with pytest.raises(InvalidArgument):
        page("list", token=forged(document))


def test_a_list_without_new_fields_has_the_selection_of_the_version_before() -> None:
    first: dict[str, object] = {"account_id": 1, "review_status": 2}
    request = content_pb.ListContentsRequest(account_id=1, review_status=content_pb.REVIEW_STATUS_APPROVED)
    paged = content_pb.ListContentsRequest(page_size=9, page_token="a token")
    paged.MergeFrom(request)
    assert selection(request, **first) == selection(paged, **first) == (1, 2)
    searched = content_pb.ListContentsRequest(query="tea")
    searched.MergeFrom(request)
    assert selection(searched, **first) == (1, 2, searched_for("tea"))
    assert selection(searched, **first) != selection(content_pb.ListContentsRequest(query="coffee"), **first)


def searched_for(query: str) -> str:
    return content_pb.ListContentsRequest(query=query).SerializeToString(deterministic=True).hex()


# The rows of RPCs are those of the protos, in their order, and name what their messages have.


CHANGES = {name: rpc.changes for name, rpc in RPCS.items() if rpc.changes}


def field(message: Descriptor, path: str) -> FieldDescriptor:
    """The field at the end of a path. Raises KeyError if there is none."""
    first, _, rest = path.partition(".")
    descriptor = message.fields_by_name[first]
    if not rest:
        return descriptor
    assert descriptor.message_type
    return field(descriptor.message_type, rest)


def test_each_rpc_of_the_protos_has_its_row() -> None:
    assert list(RPCS) == list(METHODS)


def test_callers_are_roles_of_tokens() -> None:
    assert {role for rpc in RPCS.values() for role in rpc.callers.split()} == set(ROLES) - {"operator"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_names_fields_of_its_messages(name: str) -> None:
    change: Change = CHANGES[name]
    named = field(METHODS[name].input_type, change.named) if change.named else None
    resource = field(METHODS[name].output_type, change.made) if change.made else None
    assert named or resource or change.tells
    for descriptor in (named, resource):
        assert descriptor is None or descriptor.is_repeated == change.several
    assert resource is None or resource.message_type is not None
