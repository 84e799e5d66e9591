"""CancelTask and RetryTask in every state of a task."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_svc.domain.errors import InvalidState, NotFound
from scheduler_svc.domain.lease import Outcome
from scheduler_svc.domain.lifecycle import Status
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, TIMEOUT, Scheduling

Make = Callable[[Scheduling], int]


def scheduled(scheduling: Scheduling) -> int:
    return scheduling.submit_one(schedule_time=datetime.now(UTC) + timedelta(hours=1))


def backing_off(scheduling: Scheduling) -> int:
    ref = scheduling.start()
    scheduling.end(ref, FAILURE)
    return ref.task_key


def deferred(scheduling: Scheduling) -> int:
    ref = scheduling.start()
    scheduling.end(ref, DEFERRED)
    return ref.task_key


def failed(scheduling: Scheduling) -> int:
    ref = scheduling.start(auto_retry=False)
    scheduling.end(ref, FAILURE)
    return ref.task_key


def timed_out(scheduling: Scheduling) -> int:
    ref = scheduling.start(auto_retry=False)
    scheduling.end(ref, TIMEOUT)
    return ref.task_key


def completed(scheduling: Scheduling) -> int:
    ref = scheduling.start()
    scheduling.end(ref, RESULT)
    return ref.task_key


def cancelled(scheduling: Scheduling) -> int:
    return scheduling.cancel(scheduling.submit_one()).task_key


def ready(scheduling: Scheduling) -> int:
    return scheduling.submit_one()


def submitted(scheduling: Scheduling) -> int:
    scheduling.submit_one()
    return scheduling.claim()[0].task_key


def processing(scheduling: Scheduling) -> int:
    return scheduling.start().task_key


class TestCancel:
    @pytest.mark.parametrize("make", [ready, scheduled, backing_off, deferred])
    @pytest.mark.parametrize("force", [False, True])
    def test_a_waiting_task_is_cancelled(self, scheduling: Scheduling, make: Make, force: bool) -> None:
        key = make(scheduling)
        task = scheduling.cancel(key, force=force)
        assert (task.status, task.ended, scheduling.place(key)) == (Status.CANCELLED, True, "")
        assert task.error is not None
        assert task.error.reason == "CANCELLED_BY_CLIENT"
        assert scheduling.told[-1].ended == [key]
        assert scheduling.claim() == []

    @pytest.mark.parametrize("make", [submitted, processing])
    def test_a_running_task_is_cancelled_by_force_only(self, scheduling: Scheduling, make: Make) -> None:
        key = make(scheduling)
        with pytest.raises(InvalidState) as refused:
            scheduling.cancel(key)
        assert refused.value.metadata == {"current_state": make.__name__, "required_state": "pending"}
        task = scheduling.cancel(key, force=True)
        assert (task.status, task.ended, scheduling.place(key)) == (Status.CANCELLED, True, "")
        assert scheduling.barred(key)
        ((worker_id, _, reason),) = scheduling.told[-1].cancelled
        assert (worker_id, reason, scheduling.told[-1].ended) == ("w", "CANCELLED_BY_CLIENT", [key])

    @pytest.mark.parametrize("make", [completed, cancelled, failed, timed_out])
    @pytest.mark.parametrize("force", [False, True])
    def test_a_task_that_has_ended_is_not_cancelled(self, scheduling: Scheduling, make: Make, force: bool) -> None:
        key = make(scheduling)
        before = scheduling.task(key)
        with pytest.raises(InvalidState) as refused:
            scheduling.cancel(key, force=force)
        assert refused.value.metadata["current_state"] == before.status.label
        assert scheduling.task(key) == before

    def test_a_second_cancel_is_refused(self, scheduling: Scheduling) -> None:
        key = processing(scheduling)
        scheduling.cancel(key, force=True)
        with pytest.raises(InvalidState):
            scheduling.cancel(key, force=True)

    def test_a_result_after_the_cancel_is_lost(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        scheduling.cancel(ref.task_key, force=True)
        assert scheduling.end(ref, RESULT) is Outcome.LEASE_LOST
        assert not scheduling.barred(ref.task_key)
        assert scheduling.task(ref.task_key).status is Status.CANCELLED

    def test_a_task_with_a_revoked_lease_is_cancelled(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        scheduling.sql("UPDATE leases SET accept_time = now() - interval '1 h', start_time = now()")
        scheduling.reap()
        assert scheduling.cancel(ref.task_key).status is Status.CANCELLED
        assert scheduling.end(ref, RESULT) is Outcome.LEASE_LOST

    def test_a_cancel_of_an_unknown_task_is_not_found(self, scheduling: Scheduling) -> None:
        with pytest.raises(NotFound):
            scheduling.cancel(12345)


class TestRetry:
    @pytest.mark.parametrize("make", [failed, timed_out])
    def test_a_failed_or_timed_out_task_is_ready_after_retry_task(self, scheduling: Scheduling, make: Make) -> None:
        key = make(scheduling)
        task = scheduling.retry(key)
        assert (task.status, task.ended, task.retry_count, scheduling.place(key)) == (Status.PENDING, False, 1, "ready")
        assert task.error is not None  # the last attempt's, until a later one completes
        assert scheduling.events(key)[-1].reason == "RETRY_TASK"
        assert scheduling.told[-1].ready

    def test_a_retry_during_backoff_starts_at_once_and_consumes_no_retry(self, scheduling: Scheduling) -> None:
        key = backing_off(scheduling)
        path = scheduling.path(key)
        assert scheduling.retry(key).retry_count == 1
        assert (scheduling.place(key), scheduling.path(key)) == ("ready", path)

    @pytest.mark.parametrize("make", [ready, scheduled, submitted, processing, completed, cancelled])
    def test_tasks_in_other_states_are_not_retried(self, scheduling: Scheduling, make: Make) -> None:
        key = make(scheduling)
        before, place = scheduling.task(key), scheduling.place(key)
        with pytest.raises(InvalidState) as refused:
            scheduling.retry(key)
        assert refused.value.metadata == {
            "current_state": before.status.label,
            "required_state": "failed,timeout",
        }
        assert (scheduling.task(key), scheduling.place(key)) == (before, place)

    def test_reset_retry_count_allows_new_retries_and_counts_this_one(self, scheduling: Scheduling) -> None:
        key = failed(scheduling)
        scheduling.sql("UPDATE tasks SET retry_count = 3")
        assert scheduling.retry(key, reset=True).retry_count == 1

    def test_a_revoked_lease_bars_the_retry_of_a_task_that_ended(self, scheduling: Scheduling) -> None:
        ref = scheduling.start(auto_retry=False)
        scheduling.sql("UPDATE leases SET accept_time = now() - interval '1 h', start_time = now()")
        scheduling.reap()
        assert scheduling.task(ref.task_key).ended
        scheduling.retry(ref.task_key)
        assert (scheduling.place(ref.task_key), scheduling.due().count) == ("delayed", 0)
        scheduling.end(ref, FAILURE)
        assert scheduling.due().count == 1
        assert scheduling.claim()[0].attempt == 2

    def test_a_retry_of_an_unknown_task_is_not_found(self, scheduling: Scheduling) -> None:
        with pytest.raises(NotFound):
            scheduling.retry(12345)
