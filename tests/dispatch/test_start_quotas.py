"""Limits of starts a minute, and the demand that is left under all limits."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from scheduler_svc.accounts.work import update_account
from scheduler_svc.dispatch.admission import scan, settle
from scheduler_svc.dispatch.work import read_demand
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import Change
from scheduler_svc.domain.task import PendingReason
from scheduler_svc.transactions import Tx
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, Scheduling, cancels, claims, later, overtaken, released
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.integration


QUOTA = 3


@pytest.fixture
def metered(scheduling: Scheduling) -> int:
    return scheduling.make_account(max_starts_per_minute=QUOTA)


def claimed(scheduling: Scheduling, count: int = 10) -> list[LeaseRef]:
    """The leases that are granted after the requested admissions; then runs the admissions that the claim requests."""
    scheduling.admit()
    return [grant.ref for grant in scheduling.serve(count)]


def settles(account_id: int) -> Callable[[Tx], None]:
    return lambda tx: settle(tx, account_id)


def a_minute_passes(scheduling: Scheduling, account_id: int, seconds: int = 60) -> None:
    """Ages all starts by `seconds`, and runs the timer that was set."""
    scheduling.sql(
        """WITH held AS MATERIALIZED (
                SELECT FROM shares WHERE account_id = :account_id ORDER BY priority FOR UPDATE)
            UPDATE start_quotas SET times = ARRAY(
                SELECT t - make_interval(secs => :seconds) FROM unnest(times) AS t)
            WHERE account_id = :account_id AND (SELECT count(*) FROM held) > 0""",
        account_id=account_id,
        seconds=seconds,
    )
    scheduling.run(settle, account_id)


def used(scheduling: Scheduling, account_id: int) -> int:
    """The seats of counted starts."""
    ((seats,),) = scheduling.sql(
        """SELECT coalesce(sum(n), 0) FROM start_quotas, unnest(times, counts) AS s(time, n)
            WHERE account_id = :account_id AND time > now() - interval '1 minute'""",
        account_id=account_id,
    )
    return int(seats)


def test_the_quota_of_starts_is_refilled_after_a_minute(scheduling: Scheduling, metered: int) -> None:
    keys, order = scheduling.fill(metered, 10), []
    for count in (3, 3, 3, 1):
        refs = claimed(scheduling)
        assert len(refs) == count
        order += [ref.task_key for ref in refs]
        assert claimed(scheduling) == []
        scheduling.end(refs[0], RESULT)  # that restores none of the quota
        a_minute_passes(scheduling, metered, 59)
        assert claimed(scheduling) == []
        a_minute_passes(scheduling, metered, 1)
    assert order == keys


def test_the_timer_is_set_for_the_first_seat_that_comes_free_if_a_task_waits(
    scheduling: Scheduling, metered: int
) -> None:
    scheduling.fill(metered, QUOTA)
    assert len(claimed(scheduling)) == QUOTA
    assert not any(signals.admit_later for signals in scheduling.signals)
    scheduling.fill(metered, 1)
    scheduling.admit()
    seconds = [signals.admit_later[metered] for signals in scheduling.signals if metered in signals.admit_later]
    assert seconds
    assert seconds[-1] == pytest.approx(60, abs=5)


def test_an_unclaimed_task_counts_from_its_later_start(scheduling: Scheduling, metered: int) -> None:
    """Tasks that wait for a worker save up no starts, neither for themselves nor for those behind them."""
    scheduling.fill(metered, 10)
    scheduling.admit()
    for _ in range(3):
        a_minute_passes(scheduling, metered)
    assert len(claimed(scheduling)) == QUOTA
    assert claimed(scheduling) == []
    assert used(scheduling, metered) == QUOTA


def test_a_claim_of_another_task_does_not_wait_for_the_count(scheduling: Scheduling, metered: int) -> None:
    scheduling.fill(metered, 5)
    scheduling.admit()
    (ref,) = scheduling.claim()
    assert ref
    claimed = scheduling.claim_for()
    assert claimed.urgent == frozenset()


AGAIN: dict[str, Callable[[Scheduling, LeaseRef], object]] = {
    "retried": lambda s, ref: (s.end(ref, FAILURE), s.wait_is_over(ref.task_key)),
    "lost": lambda s, ref: s.lose(ref),
    "released": lambda s, ref: s.end(ref, released()),
    "never delivered": lambda s, ref: s.take_back(ref),
}


@pytest.mark.parametrize("how", AGAIN)
def test_each_lease_counts_as_a_start(scheduling: Scheduling, metered: int, how: str) -> None:
    scheduling.fill(metered, 1)
    for _ in range(QUOTA):
        (ref,) = claimed(scheduling)
        AGAIN[how](scheduling, ref)
    assert claimed(scheduling) == []
    assert scheduling.explain(ref.task_key)[1] is PendingReason.RATE_LIMIT
    a_minute_passes(scheduling, metered)
    assert len(claimed(scheduling)) == 1


def test_a_cancelled_task_leaves_its_start_to_the_next(scheduling: Scheduling, metered: int) -> None:
    keys = scheduling.fill(metered, 10)
    scheduling.admit()
    scheduling.cancel(keys[0])
    at_once = [grant.ref for grant in scheduling.serve(10)]
    assert [ref.task_key for ref in at_once + claimed(scheduling) + claimed(scheduling)] == keys[1:4]


def test_the_smaller_of_quota_and_limit_applies(scheduling: Scheduling) -> None:
    account_id = scheduling.make_account(limit=2, max_starts_per_minute=QUOTA)
    scheduling.fill(account_id, 10)
    running = claimed(scheduling)
    assert len(running) == 2
    for ref in running:
        scheduling.end(ref, RESULT)
    assert len(claimed(scheduling)) == 1  # its third within the minute
    a_minute_passes(scheduling, account_id)
    assert len(claimed(scheduling)) == 1  # its second at once


def test_a_pause_starts_nothing_and_uses_nothing(scheduling: Scheduling, metered: int) -> None:
    scheduling.fill(metered, 10)
    scheduling.admit()
    scheduling.pause(metered)
    assert claimed(scheduling) == []
    scheduling.resume(metered)
    assert len(claimed(scheduling)) == QUOTA


def test_a_removed_quota_is_forgotten(scheduling: Scheduling, metered: int) -> None:
    scheduling.fill(metered, 20)
    claimed(scheduling)
    scheduling.change_account(metered, max_starts_per_minute=0)
    assert scheduling.sql("SELECT FROM start_quotas") == []
    scheduling.change_account(metered, max_starts_per_minute=QUOTA)
    assert len(claimed(scheduling)) == QUOTA


class TestBesideOneAnother:
    """The admission counts during a claim, a cancel or another replica's admission."""

    def test_a_concurrent_cancel_does_not_count_as_a_start(self, scheduling: Scheduling, metered: int) -> None:
        keys = scheduling.fill(metered, 6)
        scheduling.admit()
        overtaken(scheduling, cancels(keys[0]), lambda: scheduling.run(settle, metered))
        assert used(scheduling, metered) == 0
        scheduling.run(settle, metered)  # the cancel's commit asks for it
        assert used(scheduling, metered) == 0
        assert [ref.task_key for ref in claimed(scheduling)] == keys[1:4]

    def test_a_cancel_that_waits_for_an_admission_does_not_count_as_a_start(
        self, scheduling: Scheduling, metered: int
    ) -> None:
        """It removes a tag that the admission has just assigned."""
        keys = scheduling.fill(metered, 1)
        overtaken(scheduling, settles(metered), lambda: scheduling.cancel(keys[0]))
        scheduling.fill(metered, 6)
        assert len(claimed(scheduling)) == QUOTA

    def test_a_concurrent_claim_counts_as_a_start_after_its_commit(self, scheduling: Scheduling, metered: int) -> None:
        scheduling.fill(metered, 6)
        scheduling.admit()
        with scheduling.transaction() as tx:
            claims(scheduling, count=2)(tx)
            scheduling.run(settle, metered)
            assert used(scheduling, metered) == 0
        assert len(claimed(scheduling)) == 1
        assert claimed(scheduling) == []
        assert used(scheduling, metered) == QUOTA

    def test_two_admissions_admit_a_task_once(self, scheduling: Scheduling, metered: int) -> None:
        scheduling.fill(metered, 10)
        overtaken(scheduling, settles(metered), lambda: scheduling.run(settle, metered))
        assert len(claimed(scheduling)) == QUOTA

    def test_a_smaller_quota_removes_the_tags_that_a_claim_leaves(self, scheduling: Scheduling, metered: int) -> None:
        scheduling.fill(metered, 10)
        scheduling.admit()
        change = AccountChange(max_starts_per_minute=1)
        overtaken(scheduling, claims(scheduling, count=2), lambda: scheduling.run(update_account, metered, change))
        assert len(scheduling.sql("SELECT FROM leases")) == 2
        assert claimed(scheduling) == []
        assert used(scheduling, metered) == 2


class TestWhatIsMissed:
    def test_a_scan_replaces_a_lost_timer(self, scheduling: Scheduling, metered: int) -> None:
        scheduling.fill(metered, 10)
        claimed(scheduling)
        assert metered in scheduling.run(scan, 0).waiting

    def test_uncounted_starts_take_their_seats(self, scheduling: Scheduling, metered: int) -> None:
        """The replica that claimed died before it counted them."""
        scheduling.fill(metered, 10)
        scheduling.admit()
        assert len(scheduling.claim(2)) == 2
        assert used(scheduling, metered) == 0
        assert len(claimed(scheduling)) == 1
        assert claimed(scheduling) == []

    def test_windows_opened_by_a_replica_without_quotas_are_closed_again(
        self, scheduling: Scheduling, metered: int
    ) -> None:
        """It admits all tasks that the window holds, and leaves no backlog for a scan to find."""
        scheduling.fill(metered, 10)
        scheduling.sql("UPDATE ready SET tag = task_key")
        scheduling.sql("UPDATE shares SET closed = false, backlog = false, refill = NULL")
        assert scheduling.run(scan, 0).reopened == [metered]
        scheduling.run(settle, metered)
        assert scheduling.run(scan, 0).reopened == []
        assert len(claimed(scheduling)) == QUOTA


class TestTheReason:
    def test_a_task_waits_for_the_quota_only_once_it_is_used(self, scheduling: Scheduling, metered: int) -> None:
        keys = scheduling.fill(metered, 10)
        scheduling.admit()
        scheduling.hello()
        assert scheduling.explain(keys[-1])[1] is PendingReason.ALL_SLOTS_BUSY
        scheduling.claim(QUOTA)
        assert scheduling.explain(keys[-1])[1] is PendingReason.RATE_LIMIT  # counted or not
        scheduling.run(settle, metered)
        assert scheduling.explain(keys[-1])[1] is PendingReason.RATE_LIMIT

    def test_the_limit_of_concurrent_tasks_is_shown_before_the_quota_and_a_pause_after(
        self, scheduling: Scheduling
    ) -> None:
        account_id = scheduling.make_account(limit=1, max_starts_per_minute=1)
        keys = scheduling.fill(account_id, 2)
        (ref,) = claimed(scheduling)
        scheduling.pause(account_id)
        assert scheduling.explain(keys[1])[1] is PendingReason.ACCOUNT_LIMIT
        scheduling.end(ref, RESULT)
        assert scheduling.explain(keys[1])[1] is PendingReason.RATE_LIMIT


def test_quotas_are_exact_under_load_and_every_seat_comes_back(scheduling: Scheduling) -> None:
    """Two replicas' worth of threads, while minutes pass: no minute has more starts than the quota."""
    account_id = scheduling.make_account(max_starts_per_minute=QUOTA)
    over = threading.Event()
    for worker_id in "vw":
        scheduling.hello(worker_id)

    def all_used() -> bool:
        return used(scheduling, account_id) == QUOTA

    def work(worker_id: str) -> None:
        chance = random.Random(worker_id)
        ends: list[Change] = [RESULT, released()]
        while not over.is_set():
            scheduling.admit()
            for grant in scheduling.serve(chance.randint(1, 4), worker_id):
                scheduling.end(grant.ref, chance.choice(ends))

    with ThreadPoolExecutor(3) as pool:
        keys = scheduling.fill(account_id, 40)
        workers = [pool.submit(work, worker_id) for worker_id in "vw"]
        try:
            for minute in range(1, 6):
                wait_until(all_used, within=30, what="the quota is used")
                for _ in range(5):
                    scheduling.cancel(keys.pop())
                assert started(scheduling) == QUOTA * minute
                a_minute_passes(scheduling, account_id)
        finally:
            over.set()
        for worker in workers:
            worker.result(timeout=10)
    assert started(scheduling) <= QUOTA * 6


def started(scheduling: Scheduling) -> int:
    ((starts,),) = scheduling.sql("SELECT count(*) FROM task_events WHERE reason = 'LEASED'")
    return int(starts)


# The demand is what a claim with any number of free slots would take, and what is leased.


ANY = 1_000


def demand(scheduling: Scheduling, account_id: int = 0) -> int:
    return scheduling.run(read_demand, account_id)


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
    scheduling.submit_one(schedule_time=later())
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
    assert (demand(scheduling), demand(scheduling, limited)) == (2, 2)
    scheduling.run(lambda tx: tx.counts.fold(ANY))
    assert (demand(scheduling), demand(scheduling, limited)) == (2, 2)


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
