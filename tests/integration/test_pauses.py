"""Pauses of an account and of everything: their tasks wait, and all others do not."""

from __future__ import annotations

import pytest

from scheduler_svc.dispatch.work import pause_dispatch
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.lease import Release
from scheduler_svc.domain.task import PendingReason
from scheduler_svc.tasks.query import explain_task
from tests.harness.scheduling import FAILURE, RESULT, TTL, Scheduling, released
from tests.integration.racing import claims, overtaken

EVERYTHING = 0


@pytest.fixture
def other(scheduling: Scheduling) -> int:
    return scheduling.make_account()


def reason(scheduling: Scheduling, key: int) -> PendingReason:
    pending_reason: PendingReason = scheduling.run(explain_task, key, TTL)[1]
    return pending_reason


def claimed(scheduling: Scheduling, count: int = 100) -> list[int]:
    scheduling.admit()
    return [ref.task_key for ref in scheduling.claim(count)]


def test_a_paused_account_waits_and_others_do_not(scheduling: Scheduling, other: int) -> None:
    keys, others = scheduling.fill(1, 3), scheduling.fill(other, 3)
    scheduling.pause(1)
    assert claimed(scheduling) == others
    keys += scheduling.fill(1, 2)  # submits are taken
    assert claimed(scheduling) == []
    assert {reason(scheduling, key) for key in keys} == {PendingReason.PAUSED}
    scheduling.resume(1)
    assert scheduling.told[-1].ready
    assert claimed(scheduling) == keys


def test_no_task_is_leased_while_everything_is_paused(scheduling: Scheduling, other: int) -> None:
    keys = scheduling.fill(1, 3) + scheduling.fill(other, 3)
    scheduling.pause()
    keys += scheduling.fill(1, 1)
    assert claimed(scheduling) == []
    assert reason(scheduling, keys[-1]) is PendingReason.PAUSED
    scheduling.resume()
    assert scheduling.told[-1].ready
    assert set(claimed(scheduling)) == set(keys)


def test_the_pauses_of_an_account_and_of_everything_are_independent(scheduling: Scheduling) -> None:
    keys = scheduling.fill(1, 3)
    scheduling.pause(1)
    scheduling.pause()
    scheduling.resume(1)
    assert claimed(scheduling) == []
    scheduling.pause(1)
    scheduling.resume()
    assert claimed(scheduling) == []
    scheduling.resume(1)
    assert claimed(scheduling) == keys


@pytest.mark.parametrize("what", [1, EVERYTHING])
def test_pauses_and_resumes_are_idempotent(scheduling: Scheduling, what: int) -> None:
    keys = scheduling.fill(1, 3)
    scheduling.resume(what)
    for _ in range(2):
        scheduling.pause(what)
        assert claimed(scheduling) == []
    for _ in range(2):
        scheduling.resume(what)
    assert claimed(scheduling) == keys


def test_a_pause_of_an_unknown_account_is_not_found(scheduling: Scheduling) -> None:
    for change in (scheduling.pause, scheduling.resume):
        with pytest.raises(NotFound):
            change(77)
    assert scheduling.sql("SELECT FROM pauses") == []


@pytest.mark.parametrize("what", [1, EVERYTHING])
def test_running_tasks_continue_and_released_ones_wait_during_a_pause(scheduling: Scheduling, what: int) -> None:
    scheduling.fill(1, 4)
    done, back, lost, failed = scheduling.claim(4)
    scheduling.pause(what)
    scheduling.end(done, RESULT)
    scheduling.end(back, released(Release.DRAINING))
    scheduling.lose(lost)
    scheduling.end(failed, FAILURE)
    scheduling.wait_is_over(failed.task_key)
    assert claimed(scheduling) == []
    scheduling.resume(what)
    assert set(claimed(scheduling)) == {back.task_key, lost.task_key, failed.task_key}


@pytest.mark.parametrize("what", [1, EVERYTHING])
def test_a_pause_outlives_the_scheduler(scheduling: Scheduling, db_url: str, what: int) -> None:
    keys = scheduling.fill(1, 3)
    scheduling.pause(what)
    restarted = Scheduling(db_url)
    try:
        assert claimed(restarted) == []
        restarted.resume(what)
        assert claimed(restarted) == keys
    finally:
        restarted.close()


@pytest.mark.parametrize("what", [1, EVERYTHING])
def test_a_pause_waits_for_a_concurrent_claim(scheduling: Scheduling, what: int) -> None:
    """So nothing is leased after its commit."""
    scheduling.fill(1, 5)
    overtaken(scheduling, claims(scheduling, count=2), lambda: scheduling.pause(what))
    assert len(scheduling.sql("SELECT FROM leases")) == 2
    assert claimed(scheduling) == []


@pytest.mark.parametrize("what", [1, EVERYTHING])
def test_a_claim_does_not_wait_for_a_pause(scheduling: Scheduling, what: int) -> None:
    scheduling.fill(1, 5)
    scheduling.hello()
    with scheduling.transaction() as tx:
        pause_dispatch(tx, what)
        assert scheduling.claim(5) == []


def test_a_pause_and_a_limit_apply_together(scheduling: Scheduling) -> None:
    limited = scheduling.make_account(limit=2)
    keys = scheduling.fill(limited, 5)
    scheduling.pause(limited)
    assert claimed(scheduling) == []
    scheduling.change_account(limited, max_concurrent_tasks=3)
    assert claimed(scheduling) == []
    scheduling.resume(limited)
    assert claimed(scheduling) == keys[:3]
    assert reason(scheduling, keys[3]) is PendingReason.ACCOUNT_LIMIT
    scheduling.pause(limited)
    assert reason(scheduling, keys[3]) is PendingReason.ACCOUNT_LIMIT  # the first that holds
    scheduling.change_account(limited, max_concurrent_tasks=0)
    assert reason(scheduling, keys[3]) is PendingReason.PAUSED
    assert claimed(scheduling) == []
    scheduling.resume(limited)
    assert claimed(scheduling) == keys[3:]


def test_a_seat_that_waits_for_a_slot_does_not_count_as_the_limit(scheduling: Scheduling) -> None:
    limited = scheduling.make_account(limit=2)
    keys = scheduling.fill(limited, 5)
    claimed(scheduling, 1)
    assert reason(scheduling, keys[-1]) is PendingReason.ALL_SLOTS_BUSY
