"""Polls in the database: which workers are polled, which answers count, and how attempts ended."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from scheduler_svc.domain.access import Scope
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, AttemptStarted, LeaseUpdate
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.poll import AttemptCount
from scheduler_svc.domain.worker import Heartbeat
from scheduler_svc.leases.report import HeartbeatAck, HeartbeatItem, ReportItem
from scheduler_svc.leases.sessions import resize_worker
from scheduler_svc.tasks.waits import OpenPoll, ask_running, ask_task
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, TIMEOUT, TTL, Scheduling, held, released

ALL = 0


class Polling:
    """Polls, answers and reads, step by step."""

    def __init__(self, scheduling: Scheduling) -> None:
        self._scheduling = scheduling
        self._numbers = itertools.count(1_000)

    def ask(self, account_id: int = ALL) -> OpenPoll:
        asked: OpenPoll = self._scheduling.run(ask_running, Scope.of(account_id))
        return asked

    def stated(self, poll: int, *names: LeaseRef, worker_id: str = "w") -> HeartbeatItem:
        state = Heartbeat(next(self._numbers), 0, held(names), 0, poll)
        return HeartbeatItem(worker_id, self._scheduling.sessions[worker_id], state)

    def answer(self, poll: int, worker_id: str = "w") -> HeartbeatAck:
        """The acknowledgement of a state that answers a poll."""
        (ack,) = self._scheduling.report_group(self.stated(poll, worker_id=worker_id))
        assert isinstance(ack, HeartbeatAck)
        return ack

    def answered(self, poll: int, *workers: str) -> set[str]:
        worker_ids: set[str] = self._scheduling.run(lambda tx: tx.polls.answered(workers or ("w",), poll))
        return worker_ids

    def fates(self, asked: OpenPoll) -> dict[str, int]:
        """The number of attempts of worker `w` by the name of their status."""
        fates: list[AttemptCount] = self._scheduling.run(lambda tx: tx.polls.attempt_counts(asked.attempts))
        assert {fate.worker_id for fate in fates} <= {"w"}
        return {fate.status.name: fate.attempts for fate in fates}

    def is_asked_for(self) -> Any:
        """The poll that the worker's next acknowledgement would carry."""
        return self.answer(0).desired_state.poll


@pytest.fixture
def polling(scheduling: Scheduling) -> Polling:
    return Polling(scheduling)


def test_a_poll_is_sent_to_exactly_the_workers_that_hold_attempts(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.hello("idle")
    refs = [scheduling.start(), scheduling.start()]
    scheduling.submit_one()
    (other,) = scheduling.claim(worker_id="v")
    cancelled = scheduling.start()
    scheduling.cancel(cancelled.task_key, force=True)
    asked = polling.ask()
    assert sorted(asked.attempts) == sorted([(ref.task_key, 1, "w") for ref in refs] + [(other.task_key, 1, "v")])
    assert scheduling.told[-1].polled == [("v", asked.number), ("w", asked.number)]
    assert polling.ask(account_id=2).attempts == ()


def test_a_poll_without_running_attempts_sends_nothing(scheduling: Scheduling, polling: Polling) -> None:
    count = len(scheduling.told)
    assert polling.ask() == OpenPoll(0, ())
    assert len(scheduling.told) == count


def test_poll_task_is_sent_to_the_worker_that_holds_the_task(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.start()
    asked: OpenPoll = scheduling.run(ask_task, ref.task_key)
    assert asked.attempts == ((ref.task_key, 1, "w"),)
    waiting = scheduling.submit_one()
    assert scheduling.run(ask_task, waiting) == OpenPoll(0, ())
    with pytest.raises(NotFound):
        scheduling.run(ask_task, 12_345)


def test_an_answer_counts_for_its_poll_and_those_before_it(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.start()
    first, second, third = (polling.ask().number for _ in range(3))
    assert first < second < third
    polling.answer(second)
    assert scheduling.told[-1].answered == [("w", second)]
    assert [polling.answered(poll) for poll in (first, second, third)] == [{"w"}, {"w"}, set()]


def test_an_answer_is_signalled_once_and_never_lowered(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.start()
    first, second = polling.ask().number, polling.ask().number
    count = len(scheduling.told)
    for poll in (second, second, first, 0):
        polling.answer(poll)
    assert [signals.answered for signals in scheduling.told[count:]] == [[("w", second)]]
    assert polling.answered(second) == {"w"}


def test_answers_to_unknown_polls_or_from_old_sessions_are_ignored(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.start()
    asked = polling.ask().number
    polling.answer(asked + 1)
    old = polling.stated(asked)
    scheduling.hello(names=[])
    scheduling.report_group(old)
    assert polling.answered(asked) == set()


def test_an_unanswered_poll_is_repeated_with_each_acknowledgement_and_welcome(
    scheduling: Scheduling, polling: Polling
) -> None:
    ref = scheduling.start()
    assert polling.is_asked_for() == 0
    asked = polling.ask().number
    assert polling.is_asked_for() == asked
    assert scheduling.hello(names=[ref]).desired_state.poll == asked
    polling.answer(asked)
    assert polling.is_asked_for() == 0
    assert scheduling.hello(names=[ref]).desired_state.poll == 0


def test_an_abandoned_poll_is_sent_to_no_worker(scheduling: Scheduling, polling: Polling) -> None:
    ref = scheduling.start()
    asked = polling.ask().number
    scheduling.sql("UPDATE workers SET poll_time = now() - interval '10 seconds'")
    assert polling.is_asked_for() == 0
    assert scheduling.hello(names=[ref]).desired_state.poll == 0
    polling.answer(asked)
    assert polling.answered(asked) == set()


def test_the_later_of_two_heartbeats_in_a_group_counts(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.start()
    scheduling.submit_one()
    scheduling.claim(worker_id="v")
    first, second = polling.ask().number, polling.ask().number
    scheduling.report_group(
        polling.stated(second), polling.stated(first), polling.stated(first, worker_id="v"), polling.stated(0)
    )
    assert scheduling.told[-1].answered == [("v", first), ("w", second)]
    assert polling.answered(second, "v", "w") == {"w"}


def test_an_answer_is_committed_with_the_reports_before_it(scheduling: Scheduling, polling: Polling) -> None:
    ref = scheduling.start()
    asked = polling.ask()
    count = len(scheduling.told)
    scheduling.report_group(ReportItem((LeaseUpdate(ref.lease_id, 1, ref, RESULT),)), polling.stated(asked.number))
    (signals,) = scheduling.told[count:]
    assert (signals.ended, signals.answered) == ([ref.task_key], [("w", asked.number)])
    assert polling.fates(asked) == {"COMPLETED": 1}


def test_a_poll_counts_the_end_of_each_attempt(scheduling: Scheduling, polling: Polling) -> None:
    done, fails, times_out, lost, given_back, deferred, cancelled, _ = (scheduling.start() for _ in range(8))
    scheduling.submit_one()
    (unstarted,) = scheduling.claim()
    asked = polling.ask()
    assert polling.fates(asked) == {"SUBMITTED": 9}
    scheduling.end(done, RESULT)
    scheduling.end(fails, FAILURE)
    scheduling.end(times_out, TIMEOUT)
    scheduling.lose(lost)
    scheduling.end(given_back, released(started=True))
    scheduling.end(deferred, DEFERRED)
    scheduling.end(unstarted, released())
    scheduling.cancel(cancelled.task_key, force=True)
    assert polling.fates(asked) == {"SUBMITTED": 1, "COMPLETED": 1, "FAILED": 3, "TIMEOUT": 1, "NONE": 3}


def test_the_end_of_the_attempt_counts_not_the_next_state_of_its_task(scheduling: Scheduling, polling: Polling) -> None:
    ref = scheduling.start()
    first = polling.ask()
    scheduling.end(ref, FAILURE)
    scheduling.retry(ref.task_key)
    (again,) = scheduling.claim()
    scheduling.report(again, AttemptAccepted(), AttemptStarted())
    second = polling.ask()
    assert [attempt.attempt for attempt in second.attempts] == [2]
    assert (polling.fates(first), polling.fates(second)) == ({"FAILED": 1}, {"SUBMITTED": 1})
    scheduling.end(again, RESULT)
    assert (polling.fates(first), polling.fates(second)) == ({"FAILED": 1}, {"COMPLETED": 1})


def test_a_late_result_completes_the_attempt_that_was_lost(scheduling: Scheduling, polling: Polling) -> None:
    ref = scheduling.start()
    asked = polling.ask()
    scheduling.lose(ref)
    assert polling.fates(asked) == {"FAILED": 1}
    scheduling.end(ref, RESULT)
    assert polling.fates(asked) == {"COMPLETED": 1}


def test_a_timed_out_attempt_has_ended_although_its_lease_stays(scheduling: Scheduling, polling: Polling) -> None:
    ref = scheduling.start(auto_retry=False)
    asked = polling.ask()
    scheduling.sql("UPDATE leases SET accept_time = accept_time - interval '1 day'")
    scheduling.reap()
    assert scheduling.barred(ref.task_key)
    assert scheduling.task(ref.task_key).status is Status.TIMEOUT
    assert polling.fates(asked) == {"TIMEOUT": 1}


def test_a_resize_changes_the_desired_number_of_slots(scheduling: Scheduling) -> None:
    scheduling.hello()
    worker = scheduling.run(resize_worker, "w", 7, TTL)
    assert worker.slots == 7
    assert scheduling.told[-1].resized == [("w", 7)]
    assert scheduling.state().desired_state.slots == 7
    assert scheduling.hello().desired_state.slots == 7
    with pytest.raises(NotFound):
        scheduling.run(resize_worker, "none", 7, TTL)
