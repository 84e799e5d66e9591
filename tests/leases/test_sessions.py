"""Who may open a session with which leases, and which workers are polled."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from scheduler_svc.config import Settings
from scheduler_svc.dispatch.work import SessionCapacity
from scheduler_svc.domain.account import Scope
from scheduler_svc.domain.errors import NotFound, SessionReplaced, WorkerIdInUse
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, AttemptStarted, Outcome
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.worker import AttemptCount, Heartbeat
from scheduler_svc.leases.report import HeartbeatAck, HeartbeatItem
from scheduler_svc.tasks.waits import OpenPoll, ask_running, ask_task
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, TIMEOUT, Scheduling, held, released, report_of

pytestmark = pytest.mark.integration


def silent_for(scheduling: Scheduling, seconds: float, worker_id: str = "w") -> None:
    scheduling.sql(
        "UPDATE workers SET heartbeat_time = now() - make_interval(secs => :seconds) WHERE worker_id = :worker_id",
        seconds=seconds,
        worker_id=worker_id,
    )


def test_a_hello_of_the_same_folder_replaces_the_session(scheduling: Scheduling) -> None:
    first = scheduling.hello(number=1)
    scheduling.submit_one()
    second = scheduling.hello(number=2)
    assert second.session_key != first.session_key
    claimed = scheduling.claim_for(SessionCapacity("w", first.session_key, 1, 1))
    assert not claimed.grants
    assert set(claimed.closed) == {first.session_key}


@pytest.mark.parametrize("number", [2, 1])
def test_a_delayed_hello_changes_nothing(scheduling: Scheduling, number: int) -> None:
    scheduling.hello(number=2)
    ref = scheduling.start()
    before = scheduling.sql("SELECT * FROM workers"), scheduling.sql("SELECT * FROM leases")
    with pytest.raises(SessionReplaced):
        scheduling.hello(number=number)
    assert (scheduling.sql("SELECT * FROM workers"), scheduling.sql("SELECT * FROM leases")) == before
    assert scheduling.state(ref).not_renewed == ()


def test_another_folder_may_not_take_the_id_of_a_live_worker(scheduling: Scheduling) -> None:
    scheduling.hello()
    ref = scheduling.start()
    silent_for(scheduling, 119)
    with pytest.raises(WorkerIdInUse) as refused:
        scheduling.hello(folder_id="another")
    assert refused.value.metadata == {"worker_id": "w", "hostname": "host"}
    assert scheduling.state(ref).not_renewed == ()


def test_an_identity_that_takes_over_a_silent_workers_id_gets_none_of_its_leases(scheduling: Scheduling) -> None:
    scheduling.hello(identity="ours")
    ref = scheduling.start()
    silent_for(scheduling, 121)
    opened = scheduling.hello(identity="theirs", names=[ref], lost=[ref])
    assert (opened.keep, opened.drop) == ((), (ref.lease_id,))
    assert scheduling.place(ref.task_key) == "ready"
    assert scheduling.end(ref, RESULT) is Outcome.LEASE_LOST
    assert scheduling.path(ref.task_key)[-2:] == ["failed", "pending"], "it had started, and is released uncounted"


def test_another_folder_takes_over_an_id_that_was_silent_for_a_lease_time(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    silent_for(scheduling, 121)
    opened = scheduling.hello(folder_id="another", number=1)
    assert (opened.keep, opened.drop) == ((), ())
    assert scheduling.place(ref.task_key) == "ready"


def test_a_replaced_session_s_heartbeats_are_refused_and_renew_nothing(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    old = scheduling.stated("w", [ref])
    scheduling.hello(names=[ref])
    scheduling.expire(ref)
    (answer,) = scheduling.report_group(old)
    assert isinstance(answer, SessionReplaced)
    assert scheduling.reap().expired == 1


class TestNamedLeases:
    def test_a_worker_s_own_leases_are_kept_and_renewed(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        scheduling.expire(ref)
        opened = scheduling.hello(names=[ref])
        assert (opened.keep, opened.drop) == ((ref.lease_id,), ())
        assert scheduling.reap().expired == 0
        assert scheduling.end(ref, RESULT) is Outcome.COMMITTED

    def test_named_leases_that_a_worker_no_longer_holds_are_dropped(self, scheduling: Scheduling) -> None:
        ref = scheduling.lost()
        scheduling.claim(worker_id="v")
        assert scheduling.hello(names=[ref]).drop == (ref.lease_id,)
        assert scheduling.place(ref.task_key) == "leases"

    def test_a_dropped_lease_still_accepts_a_late_result(self, scheduling: Scheduling) -> None:
        ref = scheduling.lost()
        assert scheduling.hello(names=[ref]).drop == (ref.lease_id,)
        assert scheduling.end(ref, RESULT) is Outcome.COMMITTED

    def test_another_worker_s_leases_are_dropped_and_stay(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        assert scheduling.hello("v", names=[ref]).drop == (ref.lease_id,)
        assert scheduling.state(ref).not_renewed == ()


class TestUnnamedLeases:
    def test_a_held_lease_is_not_lost_even_if_the_hello_names_it_as_lost(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        assert scheduling.hello(names=[ref], lost=[ref]).keep == (ref.lease_id,)

    @pytest.mark.parametrize("max_losses", [2, 5])
    def test_a_task_that_kills_its_worker_fails_at_the_last_loss_allowed(
        self, scheduling: Scheduling, max_losses: int
    ) -> None:
        settings = Settings(max_worker_losses=max_losses)
        key = scheduling.submit_one()
        for _ in range(max_losses):
            (ref,) = scheduling.claim()
            scheduling.hello(lost=[ref], settings=settings)
        assert (scheduling.task(key).status, scheduling.place(key)) == (Status.FAILED, "")
        assert scheduling.path(key).count("failed") == max_losses
        assert scheduling.signals[-1].ended == [key]

    def test_other_workers_keep_their_leases(self, scheduling: Scheduling) -> None:
        scheduling.submit_one()
        (ref,) = scheduling.claim(worker_id="v")
        scheduling.hello("w")
        assert scheduling.state(ref, worker_id="v").not_renewed == ()


class TestRevokedLeases:
    @pytest.fixture
    def revoked(self, scheduling: Scheduling) -> LeaseRef:
        return scheduling.revoked()

    def test_a_named_revoked_lease_is_dropped_and_stays(self, scheduling: Scheduling, revoked: LeaseRef) -> None:
        opened = scheduling.hello(names=[revoked])
        assert (opened.keep, opened.drop) == ((), (revoked.lease_id,))
        assert scheduling.barred(revoked.task_key)

    def test_a_revoked_lease_that_is_no_longer_named_is_deleted(
        self, scheduling: Scheduling, revoked: LeaseRef
    ) -> None:
        scheduling.hello(names=[revoked])
        scheduling.hello()
        assert not scheduling.barred(revoked.task_key)
        assert scheduling.signals[-1].due


def test_the_desired_state_of_a_process_holds_until_it_ends(scheduling: Scheduling) -> None:
    scheduling.hello()
    scheduling.sql("UPDATE workers SET desired_drain = true")
    assert scheduling.hello().desired_state.drain
    assert scheduling.state().desired_state.drain
    scheduling.sql("UPDATE workers SET process_id = 'the one before'")
    assert not scheduling.hello().desired_state.drain


def test_a_worker_that_is_to_drain_gets_no_lease(scheduling: Scheduling) -> None:
    scheduling.hello()
    scheduling.submit_one()
    scheduling.sql("UPDATE workers SET desired_drain = true")
    claimed = scheduling.claim_for(scheduling.capacity(1))
    assert not claimed.grants
    assert set(claimed.closed) == {scheduling.sessions["w"]}
    assert claimed.full  # nothing was read, so there may be more


# Polls in the database: which workers are polled, which answers count, and how attempts ended.


class Polling:
    """Polls, answers and reads, step by step."""

    def __init__(self, scheduling: Scheduling) -> None:
        self._scheduling = scheduling
        self._numbers = itertools.count(1_000)

    def ask(self, account_id: int = 0) -> OpenPoll:
        return self._scheduling.run(ask_running, Scope.of(account_id))

    def stated(self, poll: int, *names: LeaseRef, worker_id: str = "w") -> HeartbeatItem:
        state = Heartbeat(next(self._numbers), 0, held(names), 0, poll)
        return HeartbeatItem(worker_id, self._scheduling.sessions[worker_id], state)

    def answer(self, poll: int, worker_id: str = "w") -> HeartbeatAck:
        """The acknowledgement of a state that answers a poll."""
        (ack,) = self._scheduling.report_group(self.stated(poll, worker_id=worker_id))
        assert isinstance(ack, HeartbeatAck)
        return ack

    def answered(self, poll: int, *workers: str) -> set[str]:
        return self._scheduling.run(lambda tx: tx.polls.answered(workers or ("w",), poll))

    def fates(self, poll: OpenPoll) -> dict[str, int]:
        """The number of attempts of worker `w` by the name of their status."""
        fates: list[AttemptCount] = self._scheduling.run(lambda tx: tx.polls.attempt_counts(poll.attempts))
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
    scheduling.revoked()
    poll = polling.ask()
    assert sorted(poll.attempts) == sorted([(ref.task_key, 1, "w") for ref in refs] + [(other.task_key, 1, "v")])
    assert scheduling.signals[-1].polled == [("v", poll.number), ("w", poll.number)]
    assert polling.ask(account_id=2).attempts == ()


def test_poll_task_is_sent_to_the_worker_that_holds_the_task(scheduling: Scheduling) -> None:
    ref = scheduling.start()
    scheduling.start()
    poll: OpenPoll = scheduling.run(ask_task, ref.task_key)
    assert poll.attempts == ((ref.task_key, 1, "w"),)
    waiting, count = scheduling.submit_one(), len(scheduling.signals)
    assert scheduling.run(ask_task, waiting) == OpenPoll(0, ())
    assert len(scheduling.signals) == count, "nothing is sent"
    with pytest.raises(NotFound):
        scheduling.run(ask_task, 12_345)


def test_an_answer_counts_for_its_poll_and_those_before_it(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.start()
    first, second, third = (polling.ask().number for _ in range(3))
    assert first < second < third
    polling.answer(second)
    assert scheduling.signals[-1].answered == [("w", second)]
    assert [polling.answered(poll) for poll in (first, second, third)] == [{"w"}, {"w"}, set()]


def test_an_answer_is_signalled_once_and_never_lowered(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.start()
    first, second = polling.ask().number, polling.ask().number
    count = len(scheduling.signals)
    for poll in (second, second, first, 0):
        polling.answer(poll)
    assert [signals.answered for signals in scheduling.signals[count:]] == [[("w", second)]]
    assert polling.answered(second) == {"w"}


def test_answers_to_unknown_polls_or_from_old_sessions_are_ignored(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.start()
    poll = polling.ask().number
    polling.answer(poll + 1)
    old = polling.stated(poll)
    scheduling.hello(names=[])
    scheduling.report_group(old)
    assert polling.answered(poll) == set()


def test_an_unanswered_poll_is_repeated_with_each_acknowledgement_and_welcome(
    scheduling: Scheduling, polling: Polling
) -> None:
    ref = scheduling.start()
    assert polling.is_asked_for() == 0
    poll = polling.ask().number
    assert polling.is_asked_for() == poll
    assert scheduling.hello(names=[ref]).desired_state.poll == poll
    polling.answer(poll)
    assert polling.is_asked_for() == 0
    assert scheduling.hello(names=[ref]).desired_state.poll == 0


def test_an_abandoned_poll_is_sent_to_no_worker(scheduling: Scheduling, polling: Polling) -> None:
    ref = scheduling.start()
    poll = polling.ask().number
    scheduling.sql("UPDATE workers SET poll_time = now() - interval '10 seconds'")
    assert polling.is_asked_for() == 0
    assert scheduling.hello(names=[ref]).desired_state.poll == 0
    polling.answer(poll)
    assert polling.answered(poll) == set()


def test_the_later_of_two_heartbeats_in_a_group_counts(scheduling: Scheduling, polling: Polling) -> None:
    scheduling.start()
    scheduling.submit_one()
    scheduling.claim(worker_id="v")
    first, second = polling.ask().number, polling.ask().number
    scheduling.report_group(
        polling.stated(second), polling.stated(first), polling.stated(first, worker_id="v"), polling.stated(0)
    )
    assert scheduling.signals[-1].answered == [("v", first), ("w", second)]
    assert polling.answered(second, "v", "w") == {"w"}


def test_an_answer_is_committed_with_the_reports_before_it(scheduling: Scheduling, polling: Polling) -> None:
    ref = scheduling.start()
    poll = polling.ask()
    count = len(scheduling.signals)
    scheduling.report_group(report_of(ref, RESULT), polling.stated(poll.number))
    (signals,) = scheduling.signals[count:]
    assert (signals.ended, signals.answered) == ([ref.task_key], [("w", poll.number)])
    assert polling.fates(poll) == {"COMPLETED": 1}


def test_a_poll_counts_the_end_of_each_attempt(scheduling: Scheduling, polling: Polling) -> None:
    done, fails, times_out, lost, given_back, deferred, cancelled, _ = (scheduling.start() for _ in range(8))
    unstarted = scheduling.claim_of_new()
    poll = polling.ask()
    assert polling.fates(poll) == {"SUBMITTED": 9}
    scheduling.end(done, RESULT)
    scheduling.end(fails, FAILURE)
    scheduling.end(times_out, TIMEOUT)
    scheduling.lose(lost)
    scheduling.end(given_back, released(started=True))
    scheduling.end(deferred, DEFERRED)
    scheduling.end(unstarted, released())
    scheduling.cancel(cancelled.task_key, force=True)
    assert polling.fates(poll) == {"SUBMITTED": 1, "COMPLETED": 1, "FAILED": 3, "TIMEOUT": 1, "NONE": 3}


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
    poll = polling.ask()
    scheduling.lose(ref)
    assert polling.fates(poll) == {"FAILED": 1}
    scheduling.end(ref, RESULT)
    assert polling.fates(poll) == {"COMPLETED": 1}
