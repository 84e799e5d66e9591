"""The demand is what a claim with any number of free slots would take, and what is leased."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from scheduler_svc.dispatch.work import read_demand
from scheduler_svc.domain.errors import NotFound
from tests.harness.scheduling import DEFERRED, RESULT, Scheduling

ANY = 1_000


def demand(scheduling: Scheduling, account_id: int = 0) -> int:
    count: int = scheduling.run(read_demand, account_id)
    return count


def taken(scheduling: Scheduling) -> int:
    """How many leases are granted if slots are free without end."""
    scheduling.admit()
    return len(scheduling.serve(ANY))


def test_a_task_counts_from_its_submit_to_its_end(scheduling: Scheduling) -> None:
    assert demand(scheduling) == 0
    for _ in range(3):
        scheduling.submit_one()
    assert demand(scheduling) == 3
    refs = scheduling.claim(2)
    assert demand(scheduling) == 3
    scheduling.end(refs[0], RESULT)
    assert demand(scheduling) == 2
    assert demand(scheduling, 1) == 2


def test_a_task_that_waits_for_its_time_does_not_count(scheduling: Scheduling) -> None:
    scheduling.submit_one(schedule_time=datetime.now(UTC) + timedelta(hours=1))
    assert demand(scheduling) == demand(scheduling, 1) == 0
    scheduling.submit_one()
    (ref,) = scheduling.claim()
    scheduling.end(ref, DEFERRED)
    assert demand(scheduling) == demand(scheduling, 1) == 0


def test_pauses_limits_and_quotas_bound_each_account_alone(scheduling: Scheduling) -> None:
    limited, metered = scheduling.make_account(2), scheduling.make_account(max_starts_per_minute=3)
    paused = scheduling.make_account()
    for account_id in (1, limited, metered, paused):
        scheduling.fill(account_id, 5)
    scheduling.pause(paused)
    assert [demand(scheduling, account) for account in (1, limited, metered, paused, 0)] == [5, 2, 3, 0, 10]
    assert taken(scheduling) == 10
    assert [demand(scheduling, account) for account in (1, limited, metered, paused, 0)] == [5, 2, 3, 0, 10]
    scheduling.pause()
    assert [demand(scheduling, account) for account in (1, limited, metered, paused, 0)] == [5, 2, 3, 0, 10]
    scheduling.resume(paused)
    assert demand(scheduling, paused) == 0, "everything is paused"
    scheduling.resume()
    assert [demand(scheduling, paused), demand(scheduling)] == [5, 15]


def test_counts_are_the_same_folded_or_not(scheduling: Scheduling) -> None:
    limited = scheduling.make_account(2)
    scheduling.fill(limited, 5)
    scheduling.admit()
    assert len(scheduling.claim(1)) == 1
    before = demand(scheduling), demand(scheduling, limited)
    scheduling.run(lambda tx: tx.counts.fold(ANY))
    assert (demand(scheduling), demand(scheduling, limited)) == before == (2, 2)


def test_an_unknown_account_is_not_found(scheduling: Scheduling) -> None:
    with pytest.raises(NotFound):
        demand(scheduling, 99)


@pytest.mark.parametrize("seed", range(5))
def test_the_demand_is_what_a_claim_takes(scheduling: Scheduling, seed: int) -> None:
    chosen = random.Random(seed)
    accounts = [
        scheduling.make_account(chosen.choice([0, 0, 1, 3]), max_starts_per_minute=chosen.choice([0, 0, 2, 4]))
        for _ in range(6)
    ]
    leased = 0
    for _ in range(6):
        account_id = chosen.choice(accounts)
        match chosen.randrange(5):
            case 0:
                scheduling.pause(account_id)
            case 1:
                scheduling.resume(account_id)
            case 2:
                scheduling.change_account(account_id, max_concurrent_tasks=chosen.randrange(4))
            case _:
                scheduling.fill(account_id, chosen.randrange(1, 6), priority=chosen.randrange(1, 4))
        wanted, own = demand(scheduling), sum(demand(scheduling, account) for account in accounts)
        leased += taken(scheduling)
        assert wanted == own == leased
        assert demand(scheduling) == leased, "nothing more may start"
