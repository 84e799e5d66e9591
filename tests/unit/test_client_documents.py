"""The client's dicts and exceptions, made of messages."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from contentgen import CreatorCLINotFoundException, CreatorException, TaskTimeoutException
from contentgen.client import documents, results
from contentgen.client.documents import document
from contentgen.client.errors import creator_exception
from contentgen.v1 import content_service_pb2, task_pb2, worker_pool_service_pb2


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


def test_an_error_without_a_message_is_its_reason() -> None:
    task = task_pb2.Task(error=task_pb2.TaskError(reason="WORKER_LOST"))
    assert document(results.Task, task)["error"] == "WORKER_LOST"


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
