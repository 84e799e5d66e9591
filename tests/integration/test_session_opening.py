"""A worker's hello: who may open a session, and the fate of leases that it names or omits."""

from __future__ import annotations

import pytest

from scheduler_svc.dispatch.work import SessionCapacity
from scheduler_svc.domain.errors import SessionReplaced, WorkerIdInUse
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, Outcome
from scheduler_svc.domain.lifecycle import Status
from tests.harness.scheduling import RESULT, Scheduling


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
        ref = scheduling.start()
        scheduling.lose(ref)
        scheduling.claim(worker_id="v")
        assert scheduling.hello(names=[ref]).drop == (ref.lease_id,)
        assert scheduling.place(ref.task_key) == "leases"

    def test_another_worker_s_leases_are_dropped_and_stay(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        assert scheduling.hello("v", names=[ref]).drop == (ref.lease_id,)
        assert scheduling.state(ref).not_renewed == ()

    def test_a_dropped_lease_still_accepts_a_late_result(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        scheduling.lose(ref)
        assert scheduling.hello(names=[ref]).drop == (ref.lease_id,)
        assert scheduling.end(ref, RESULT) is Outcome.COMMITTED


class TestUnnamedLeases:
    def test_an_unstarted_lease_is_requeued_uncounted(self, scheduling: Scheduling) -> None:
        key = scheduling.submit_one()
        (ref,) = scheduling.claim()
        scheduling.report(ref, AttemptAccepted())
        scheduling.hello()
        assert scheduling.path(key) == ["pending", "submitted", "pending"]
        assert scheduling.place(key) == "ready"
        assert scheduling.sql("SELECT losses, retry_count FROM tasks") == [(0, 0)]

    def test_a_started_lease_fails_and_is_requeued_uncounted(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        scheduling.hello()
        assert scheduling.path(ref.task_key)[-3:] == ["processing", "failed", "pending"]
        assert scheduling.sql("SELECT losses, retry_count, error->>'reason' FROM tasks") == [(0, 0, "WORKER_LOST")]

    @pytest.mark.parametrize("started", [True, False])
    def test_a_run_that_died_with_its_worker_is_a_counted_loss(self, scheduling: Scheduling, started: bool) -> None:
        if started:
            ref = scheduling.start()
        else:  # the CLI was marked in the folder, the report of its start was not committed
            scheduling.submit_one()
            (ref,) = scheduling.claim()
        scheduling.hello(lost=[ref])
        assert scheduling.path(ref.task_key)[-2:] == ["failed", "pending"]
        assert scheduling.sql("SELECT losses, retry_count FROM tasks") == [(1, 0)]

    def test_a_held_lease_is_not_lost_even_if_the_hello_names_it_as_lost(self, scheduling: Scheduling) -> None:
        ref = scheduling.start()
        assert scheduling.hello(names=[ref], lost=[ref]).keep == (ref.lease_id,)

    def test_a_task_that_kills_its_worker_fails_at_the_fifth_loss(self, scheduling: Scheduling) -> None:
        key = scheduling.submit_one()
        for _ in range(5):
            (ref,) = scheduling.claim()
            scheduling.hello(lost=[ref])
        assert (scheduling.task(key).status, scheduling.place(key)) == (Status.FAILED, "")
        assert scheduling.path(key).count("failed") == 5
        assert scheduling.told[-1].ended == [key]

    def test_other_workers_keep_their_leases(self, scheduling: Scheduling) -> None:
        scheduling.submit_one()
        (ref,) = scheduling.claim(worker_id="v")
        scheduling.hello("w")
        assert scheduling.state(ref, worker_id="v").not_renewed == ()


class TestRevokedLeases:
    @pytest.fixture
    def revoked(self, scheduling: Scheduling) -> LeaseRef:
        ref = scheduling.start()
        scheduling.cancel(ref.task_key, force=True)
        return ref

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
        assert scheduling.told[-1].due


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
    claimed = scheduling.claim_for(SessionCapacity("w", scheduling.sessions["w"], 1, 1))
    assert not claimed.grants
    assert set(claimed.closed) == {scheduling.sessions["w"]}
    assert claimed.full  # nothing was read, so there may be more
