"""The client's dicts and exceptions, and when it tries again."""

from __future__ import annotations

import pickle
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import pytest
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

import contentgen.client
from contentgen import CreatorCLINotFoundException, TaskTimeoutException
from contentgen.client import (
    ContentGenerationError,
    CreatorException,
    FieldViolation,
    InvalidStateException,
    RequestError,
    TaskCancelledException,
    WaitTimeoutException,
    documents,
    results,
)
from contentgen.client.documents import document
from contentgen.client.errors import creator_exception
from contentgen.client.watch import FIRST_CEILING, MAX_CEILING, Backoff
from contentgen.rpcs import METHODS
from contentgen.submit_fields import FIELDS
from contentgen.v1 import content_service_pb2, task_pb2, worker_pool_service_pb2
from tests.harness.scripted_server import fields, filled

pytestmark = pytest.mark.unit


# The client's dicts and exceptions, made of messages.


@pytest.mark.parametrize("number", [value.number for value in documents.TASK_STATUS.values if value.number])
def test_a_state_is_its_lower_case_name_and_back(number: int) -> None:
    label = documents.label(documents.TASK_STATUS, number)
    assert f"TASK_STATUS_{label.upper()}" in documents.TASK_STATUS.values_by_name
    assert documents.value(documents.TASK_STATUS, label) == number


def test_a_state_of_a_newer_scheduler_is_its_number() -> None:
    assert documents.label(documents.TASK_STATUS, 99) == "99"


@pytest.mark.parametrize("name", ["unspecified", "PENDING", "", "99"])
def test_what_is_no_state_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(ValueError, match="should be one of pending_review, approved, rejected"):
        documents.value(documents.REVIEW_STATUS, name)


def test_times_are_iso_8601_with_zone() -> None:
    task = task_pb2.Task(create_time=Timestamp(seconds=1_700_000_000, nanos=250_000_000))
    times = document(results.Task, task)
    assert times["created_at"] == "2023-11-14T22:13:20.250000+00:00"
    assert times["completed_at"] is None


def test_error_and_progress_of_a_task() -> None:
    error = task_pb2.TaskError(reason="CREATOR_ERROR", message="exit status 3")
    progress = task_pb2.TaskProgress(percent=40, step="draft")
    failed = document(results.Task, task_pb2.Task(error=error, progress=progress, content_id=7, worker_id="w1"))
    assert failed["error"] == "CREATOR_ERROR: exit status 3"
    assert (failed["error_reason"], failed["error_message"]) == ("CREATOR_ERROR", "exit status 3")
    assert failed["progress"] == {"percent": 40, "step": "draft", "message": ""}
    assert (failed["content_id"], failed["worker_id"]) == (7, "w1")
    task = task_pb2.Task(error=task_pb2.TaskError(reason="WORKER_LOST"))
    assert document(results.Task, task)["error"] == "WORKER_LOST", "an error without a message is its reason"


def test_a_quality_score_of_0_is_one() -> None:
    assert document(results.Content, content_service_pb2.Content(quality_score=0.0))["quality_score"] == 0.0
    assert document(results.Content, content_service_pb2.Content())["quality_score"] is None


def test_a_draining_worker_does_not_count_as_running() -> None:
    workers = [
        worker_pool_service_pb2.Worker(worker_id="w1", running=True, slots=3),
        worker_pool_service_pb2.Worker(worker_id="w2", running=True, draining=True, slots=2, queue_size=1),
    ]
    pool = document(results.WorkerPool, worker_pool_service_pb2.GetWorkerPoolResponse(num_workers=2, workers=workers))
    assert pool["total_slots"] == 5
    assert [(worker["worker_id"], worker["running"], worker["queue_size"]) for worker in pool["worker_statuses"]] == [
        ("w1", True, 0),
        ("w2", False, 1),
    ]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("CREATOR_CLI_NOT_FOUND", CreatorCLINotFoundException),
        ("TASK_TIMEOUT", TaskTimeoutException),
        ("NEW", CreatorException),
    ],
)
def test_a_task_s_error_has_its_exception(reason: str, kind: type[CreatorException]) -> None:
    error = task_pb2.TaskError(reason=reason, message="no such file", details={"exit_code": "3"})
    exception = creator_exception(error)
    assert type(exception) is kind
    assert exception.message == str(exception) == "no such file"
    assert exception.details == {"reason": reason, "exit_code": "3"}


# The client's dicts have every field of the API, and their states are those of the protos.


MESSAGES = {
    "AttemptOutput": "TailAttemptResponse",
    "TaskStats": "GetTaskStatsResponse",
    "PollStats": "PollRunningTasksResponse",
    "SubmitTemplate": "SubmitTaskRequest",
    "WorkerPool": "GetWorkerPoolResponse",
    "DispatchStatus": "GetDispatchStatusResponse",
    "System": "GetSystemResponse",
    "Caller": "GetCallerResponse",
    "ErasedAccount": "EraseAccountResponse",
    "ImportedAccount": "ImportAccountResponse",
    "MessageTest": "TestChannelResponse",
}
"""The messages of dicts that have another name than theirs."""
LEFT_OUT: dict[str, dict[str, str]] = {
    "SubmitTemplate": {field.name: "no template has it" for field in FIELDS if not field.in_schedule},
    "WorkerPool": {"next_page_token": "the client reads all pages"},
    "Lane": {"name": "it is the key of the lane"},
    "Channel": {"url": "it is only written"},
}
"""Fields that a dict does not have, each with the reason."""
OF_OTHERS = {results.TaskPage, results.WebhookWithSecret, results._Identity}
"""Dicts that are parts of others, or hold them."""
PAIRS: dict[str, tuple[Any, type[Message]]] = {
    kind.__name__: (kind, GetMessageClass(Default().FindMessageTypeByName(f"contentgen.v1.{message}")))
    for kind in vars(results).values()
    if is_typeddict(kind) and kind.__module__ == results.__name__ and kind not in OF_OTHERS
    for message in [MESSAGES.get(kind.__name__, kind.__name__)]
}
"""Each dict, and the message that it is made of, by the dict's name."""
TEXTS = {"ChannelEvent", "EventType", "Language", "TaskOrder"}
"""What the protos have as texts."""
STATES = {name: hint for name, hint in vars(results).items() if get_origin(hint) is Literal and name not in TEXTS}
"""The names of an enum's values, by the name of the enum."""


@pytest.mark.parametrize("name", PAIRS)
def test_each_field_of_a_message_is_seen_in_a_key(name: str) -> None:
    kind, message = PAIRS[name]
    empty = document(kind, message())
    unseen = {field.name for field in fields(message) if document(kind, filled(message, field)) == empty}
    assert unseen == LEFT_OUT.get(name, {}).keys()


@pytest.mark.parametrize("name", PAIRS)
def test_each_key_has_the_value_of_a_field(name: str) -> None:
    kind, message = PAIRS[name]
    empty, whole = document(kind, message()), document(kind, filled(message))
    assert list(whole) == list(get_type_hints(kind))
    same = [key for key in whole if whole[key] == empty[key]]
    assert same == (["running"] if name == "Worker" else []), "a worker that drains does not count as running"


def test_each_message_that_an_rpc_answers_has_a_dict() -> None:
    known = {message.DESCRIPTOR.full_name for _, message in PAIRS.values()}
    answered = {
        field.message_type.full_name
        for rpc, method in METHODS.items()
        if not rpc.startswith("WorkerService/")
        for field in method.output_type.fields
        if field.message_type is not None and not field.message_type.GetOptions().map_entry
    }
    assert {full_name for full_name in answered if full_name.startswith("contentgen.")} <= known


def test_every_enum_of_the_dicts_has_states() -> None:
    names = "TaskStatus PendingReason ReviewStatus CatchUp Overlap PublishStatus Resolution DeliveryStatus BudgetMode"
    assert STATES.keys() == set(names.split())


@pytest.mark.parametrize("name", STATES)
def test_the_states_are_those_of_the_proto(name: str) -> None:
    enum = Default().FindEnumTypeByName(f"contentgen.v1.{name}")
    assert list(get_args(STATES[name])) == [
        documents.label(enum, member.number) for member in enum.values if member.number
    ]


# The client's exceptions outside of calls: they can be pickled, so that process pools can return them.


TASK: Any = {"task_id": "task-1", "status": "cancelled"}
CALL: dict[str, Any] = {
    "code": "ABORTED",
    "reason": "INVALID_STATE",
    "metadata": {"task_id": "task-1"},
    "retry_delay": 2.5,
    "field_violations": [FieldViolation("topic", "is required")],
}
PUBLIC = [
    member
    for member in vars(contentgen.client).values()
    if isinstance(member, type) and issubclass(member, BaseException)
]


def error_of(kind: type[ContentGenerationError]) -> ContentGenerationError:
    """An exception of this class with all that its constructor takes."""
    if issubclass(kind, InvalidStateException):
        return kind("it failed", "pending", "failed", **CALL)
    if issubclass(kind, RequestError):
        return kind("it failed", **CALL)
    if issubclass(kind, CreatorException):
        return kind("it failed", {"reason": "CREATOR_ERROR", "exit_code": "3"})
    if issubclass(kind, TaskCancelledException | WaitTimeoutException):
        return kind("it failed", TASK)
    return kind("it failed")


@pytest.mark.parametrize("kind", PUBLIC)
def test_a_public_exception_is_the_same_after_pickling(kind: type[ContentGenerationError]) -> None:
    error = error_of(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copied = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
        assert type(copied) is kind
        assert (str(copied), copied.args, vars(copied)) == (str(error), error.args, vars(error))


# When a watch tries again, and when it gives up; the clock and the chance are the test's.


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def goes_on(backoff: Backoff, clock: Clock, *waits: float) -> list[bool]:
    """Whether there is another attempt, after each of these seconds."""
    verdicts = []
    for wait in waits:
        clock.now += wait
        verdicts.append(backoff.pause() is not None)
    return verdicts


def test_the_ceiling_doubles_up_to_the_longest_and_the_pause_is_anywhere_below_it() -> None:
    drawn: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        drawn.append((low, high))
        return high / 4

    backoff = Backoff(None, 10.0, clock=Clock(), jitter=jitter)
    pauses = [backoff.pause() for _ in range(2_000)]
    assert pauses[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.25]
    assert pauses[-1] == MAX_CEILING / 4
    assert {low for low, _ in drawn} == {0}


def test_what_comes_through_begins_anew() -> None:
    backoff = Backoff(None, 10.0, clock=Clock(), jitter=lambda _, high: high)
    assert [backoff.pause(), backoff.pause()] == [FIRST_CEILING, 2 * FIRST_CEILING]
    backoff.reset()
    assert backoff.pause() == FIRST_CEILING


def test_it_gives_up_sooner_where_nothing_ever_came_through() -> None:
    clock = Clock()
    assert goes_on(Backoff(60.0, 10.0, clock=clock), clock, 0, 9, 1) == [True, True, False]


def test_patience_counts_from_the_first_failure_in_a_row() -> None:
    clock = Clock()
    backoff = Backoff(60.0, 10.0, clock=clock)
    backoff.reset()
    assert goes_on(backoff, clock, 1_000, 59, 1) == [True, True, False]


def test_without_a_limit_it_goes_on_once_something_came_through() -> None:
    clock = Clock()
    backoff = Backoff(None, 10.0, clock=clock)
    assert goes_on(backoff, clock, 0, 10) == [True, False]
    backoff.reset()
    assert goes_on(backoff, clock, 1e6, 1e6, 1e6) == [True] * 3


def test_no_patience_gives_up_at_once() -> None:
    assert Backoff(0.0, 10.0, clock=Clock()).pause() is None
