"""Limits of running tasks, and pauses: exact in all cases, and no seat is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa

from scheduler_svc.accounts.work import update_account
from scheduler_svc.dispatch.work import pause_dispatch
from scheduler_svc.domain.account import AccountChange
from scheduler_svc.domain.dispatch import MAX_WINDOW
from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lease import AttemptAccepted, AttemptStarted, Change, Release
from scheduler_svc.domain.task import PendingReason
from scheduler_svc.transactions import Tx
from tests.harness.scheduling import DEFERRED, FAILURE, RESULT, TIMEOUT, Scheduling, claims, overtaken, released
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.integration


LIMIT = 3


@pytest.fixture
def limited(scheduling: Scheduling) -> int:
    return scheduling.make_account(limit=LIMIT)


def leased(scheduling: Scheduling, account_id: int) -> int:
    (row,) = scheduling.sql("SELECT count(*) FROM leases WHERE account_id = :account_id", account_id=account_id)
    return int(row[0])


def claimed(scheduling: Scheduling, count: int) -> list[LeaseRef]:
    """The leases that are granted after the requested admissions."""
    scheduling.admit()
    return scheduling.claim(count)


def cancel_and_let_go(scheduling: Scheduling, ref: LeaseRef) -> None:
    scheduling.cancel(ref.task_key, force=True)
    assert claimed(scheduling, 10) == []  # its worker may still run it, so the seat is taken
    scheduling.end(ref, FAILURE)


def time_out_and_let_go(scheduling: Scheduling, ref: LeaseRef) -> None:
    scheduling.report(ref, AttemptAccepted(), AttemptStarted())
    scheduling.sql("UPDATE leases SET accept_time = now() - interval '1 h' WHERE task_key = :key", key=ref.task_key)
    assert scheduling.reap().timed_out == 1
    assert claimed(scheduling, 10) == []
    scheduling.hello(names=[])


def unname(scheduling: Scheduling, ref: LeaseRef) -> None:
    held = {LeaseRef(*row) for row in scheduling.sql("SELECT task_key, attempt, fence FROM leases")}
    scheduling.cancel(ref.task_key, force=True)
    scheduling.state(*held)
    scheduling.state(*held - {ref})


ENDS: dict[str, Callable[[Scheduling, LeaseRef], object]] = {
    "completed": lambda s, ref: s.end(ref, RESULT),
    "failed": lambda s, ref: s.end(ref, FAILURE),
    "timed out by its worker": lambda s, ref: s.end(ref, TIMEOUT),
    "timed out by the scheduler": time_out_and_let_go,
    "cancelled by force": cancel_and_let_go,
    "cancelled by force, and named no more": unname,
    "cancelled by force, and expired": lambda s, ref: (s.cancel(ref.task_key, force=True), s.lose(ref)),
    "deferred": lambda s, ref: s.end(ref, DEFERRED),
    "lost": lambda s, ref: s.lose(ref),
    "released": lambda s, ref: s.end(ref, released()),
    "released after it had started": lambda s, ref: s.end(ref, released(started=True)),
    "never delivered": lambda s, ref: s.take_back(ref),
    "its worker came back without it": lambda s, ref: s.hello(
        names=[LeaseRef(*row) for row in s.sql("SELECT task_key, attempt, fence FROM leases") if row[0] != ref.task_key]
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_lease_that_ends_frees_its_slot_for_the_next(scheduling: Scheduling, limited: int, how: str) -> None:
    scheduling.fill(limited, 20)
    first, *_ = claimed(scheduling, 10)
    assert leased(scheduling, limited) == LIMIT
    ENDS[how](scheduling, first)
    assert len(claimed(scheduling, 10)) >= 1
    assert leased(scheduling, limited) == LIMIT


def test_the_oldest_task_comes_first_behind_a_limit(scheduling: Scheduling, limited: int) -> None:
    keys, order = scheduling.fill(limited, 10), []
    while refs := claimed(scheduling, 10):
        order += [ref.task_key for ref in refs]
        scheduling.end(refs[0], released())  # it is the oldest of all again
        (again,) = claimed(scheduling, 10)
        assert again.task_key == refs[0].task_key
        for ref in (again, *refs[1:]):
            scheduling.end(ref, RESULT)
    assert order == keys


def test_running_tasks_are_not_displaced(scheduling: Scheduling, limited: int) -> None:
    scheduling.fill(limited, 5, priority=2)
    running = claimed(scheduling, 10)
    (high,) = scheduling.fill(limited, 1, priority=8)
    assert claimed(scheduling, 10) == []
    scheduling.end(running[0], RESULT)
    assert [ref.task_key for ref in claimed(scheduling, 10)] == [high]


class TestLimitOrQuota:
    """What is the same of seats by `max_concurrent_tasks` and by `max_starts_per_minute`."""

    @pytest.fixture(params=["max_concurrent_tasks", "max_starts_per_minute"])
    def bound(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.fixture
    def few(self, scheduling: Scheduling, bound: str) -> int:
        """An account of three seats."""
        account_id = scheduling.make_account()
        scheduling.change_account(account_id, **{bound: LIMIT})
        return account_id

    def served(self, scheduling: Scheduling, count: int = 20) -> list[int]:
        scheduling.admit()
        return [grant.ref.task_key for grant in scheduling.serve(count)]

    def test_an_account_without_a_seat_does_not_delay_others(self, scheduling: Scheduling, few: int) -> None:
        scheduling.fill(few, 20)
        scheduling.fill(1, 5)
        assert len(self.served(scheduling)) == LIMIT + 5

    def test_a_higher_priority_takes_the_seats_of_a_lower_one(self, scheduling: Scheduling, few: int) -> None:
        scheduling.fill(few, 5, priority=2)
        scheduling.admit()  # three of them could be claimed now
        high = scheduling.fill(few, 2, priority=8)
        order = self.served(scheduling)
        assert order[:2] == high
        assert len(order) == LIMIT

    def test_cancelled_tasks_free_their_seats(self, scheduling: Scheduling, few: int) -> None:
        keys = scheduling.fill(few, 6)
        scheduling.admit()
        for key in keys[:2]:
            scheduling.cancel(key)
        assert self.served(scheduling) == keys[2:5]

    def test_a_late_result_frees_the_seat_of_the_next_attempt(
        self, scheduling: Scheduling, bound: str, few: int
    ) -> None:
        scheduling.fill(few, 1)
        (first,) = claimed(scheduling, 1)
        scheduling.lose(first)
        scheduling.admit()  # it could be claimed again
        keys = scheduling.fill(few, 5)
        scheduling.admit()
        scheduling.end(first, RESULT)
        # the start of the first attempt counts, its lease has ended
        assert self.served(scheduling) == keys[: 3 if bound == "max_concurrent_tasks" else 2]

    @pytest.mark.parametrize(("most", "more"), [(LIMIT + 2, 2), (0, 17), (1, 0)])
    def test_a_changed_bound_applies(self, scheduling: Scheduling, bound: str, few: int, most: int, more: int) -> None:
        scheduling.fill(few, 20)
        assert len(self.served(scheduling)) == LIMIT
        scheduling.change_account(few, **{bound: most})
        assert len(scheduling.serve(20)) == more

    def test_a_new_bound_applies_to_pending_tasks(self, scheduling: Scheduling, bound: str) -> None:
        scheduling.fill(1, 20)
        scheduling.change_account(1, **{bound: LIMIT})
        assert len(scheduling.serve(10)) == LIMIT  # though no admission has run since
        assert self.served(scheduling) == []

    def test_a_new_bound_waits_for_a_concurrent_claim(self, scheduling: Scheduling, bound: str) -> None:
        scheduling.fill(1, 20)
        overtaken(scheduling, claims(scheduling, count=10), lambda: scheduling.change_account(1, **{bound: LIMIT}))
        assert leased(scheduling, 1) == 10  # the concurrent claim counts as earlier
        assert len(claimed(scheduling, 10)) == (0 if bound == "max_concurrent_tasks" else LIMIT)


class TestANewLimit:
    def test_a_new_limit_counts_running_tasks(self, scheduling: Scheduling) -> None:
        scheduling.fill(1, 20)
        running = scheduling.claim(5)
        scheduling.change_account(1, max_concurrent_tasks=LIMIT)
        for left in (4, 3, 2):
            assert claimed(scheduling, 10) == []
            scheduling.end(running.pop(), RESULT)
            assert leased(scheduling, 1) == left
        assert len(claimed(scheduling, 10)) == 1

    def test_leases_released_under_a_new_limit_count_against_it(self, scheduling: Scheduling) -> None:
        scheduling.fill(1, 20)
        running = scheduling.claim(5)
        scheduling.change_account(1, max_concurrent_tasks=LIMIT)
        scheduling.take_back(*running)
        assert len(claimed(scheduling, 10)) == LIMIT

    def test_a_new_limit_larger_than_a_window_refills_the_window(self, db_url: str) -> None:
        with closing(Scheduling(db_url, max_queue=100_000)) as scheduling:
            limited = scheduling.make_account(limit=MAX_WINDOW + 500)
            scheduling.fill(limited, MAX_WINDOW + 1_000)
            scheduling.admit()
            while scheduling.serve(1_000):
                pass
            assert leased(scheduling, limited) == MAX_WINDOW + 500

    def test_a_new_limit_waits_for_a_concurrent_submit(self, scheduling: Scheduling) -> None:
        def submits(tx: Tx) -> None:
            tx.waiting.reserve({(1, 5): 0})

        change = AccountChange(max_concurrent_tasks=LIMIT)
        overtaken(scheduling, submits, lambda: scheduling.run(update_account, 1, change))
        scheduling.fill(1, 20)
        assert len(claimed(scheduling, 10)) == LIMIT

    def test_a_concurrent_claim_takes_no_task_whose_tag_the_limit_removed(self, scheduling: Scheduling) -> None:
        """It read the tags before, and skips locked rows."""
        scheduling.fill(1, 5)
        scheduling.hello()
        with scheduling.transaction() as tx:
            update_account(tx, 1, AccountChange(max_concurrent_tasks=LIMIT))
            assert len(scheduling.claim(10)) == LIMIT
        assert claimed(scheduling, 10) == []


class Load:
    """Two replicas' worth of threads that submit, claim and end tasks of accounts with limits at random."""

    def __init__(self, scheduling: Scheduling, limits: dict[int, int]) -> None:
        self._scheduling = scheduling
        self._limits = limits
        self.over = threading.Event()
        self.most = dict.fromkeys(limits, 0)

    def run(self, *, others: Sequence[Callable[[], None]] = (), until_over: Sequence[Callable[[], None]] = ()) -> None:
        """Submits and works, with `others` beside it and what lasts as long, until all is done."""
        for worker_id in "vw":
            self._scheduling.hello(worker_id)
        with ThreadPoolExecutor(6) as pool:
            lasting = [*map(pool.submit, until_over), *(pool.submit(self.work, name) for name in "vw")]
            try:
                for call in [*(pool.submit(self.submit, seed) for seed in (1, 2)), *map(pool.submit, others)]:
                    call.result(timeout=60)
                waiting = "SELECT FROM ready UNION ALL SELECT FROM leases"
                wait_until(lambda: not self._scheduling.sql(waiting), within=60, what="all is done")
            finally:
                self.over.set()
            for thread in lasting:
                thread.result(timeout=10)

    def submit(self, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            account_id = chance.choice(list(self._limits))
            self._scheduling.fill(account_id, chance.randint(1, 5), priority=chance.choice([1, 5, 9]), max_retries=0)
            self._scheduling.admit()

    def work(self, worker_id: str) -> None:
        chance = random.Random(worker_id)
        ends: list[Change] = [RESULT, FAILURE, TIMEOUT, DEFERRED, released(), released(started=True)]
        while not self.over.is_set():
            for ref in self._scheduling.claim(chance.randint(1, 6), worker_id):
                match chance.randrange(8):
                    case 0:
                        self._scheduling.lose(ref)
                    case 1:
                        self._scheduling.cancel(ref.task_key, force=True)
                        self._scheduling.end(ref, RESULT)
                    case 2:
                        self._scheduling.take_back(ref)
                    case _:
                        self._scheduling.end(ref, chance.choice(ends))
            self._scheduling.admit()

    def operate(self, seed: int) -> None:
        """An operator who changes limits, weights and pauses, and removes all of them at the end."""
        chance = random.Random(seed)
        for _ in range(30):
            account_id = chance.choice(list(self._limits))
            match chance.randrange(4):
                case 0:
                    self._scheduling.pause(chance.choice([0, account_id]))
                case 1:
                    self._scheduling.change_account(account_id, weight=chance.choice([0.5, 4.0]))
                case 2:
                    self._scheduling.change_account(account_id, max_concurrent_tasks=chance.choice([0, 1, 7]))
                case _:
                    self._resume_all()
        self._resume_all()

    def _resume_all(self) -> None:
        for account_id in (0, *self._limits):
            self._scheduling.resume(account_id)

    def watch(self, engine: sa.Engine) -> None:
        """The only reader of a whole account in one snapshot."""
        seats = sa.text("""SELECT account_id, count(*) FROM (SELECT account_id FROM leases UNION ALL
            SELECT account_id FROM ready WHERE tag IS NOT NULL) AS s GROUP BY account_id""")
        while not self.over.is_set():
            with engine.connect() as connection:
                for account_id, count in connection.execute(seats):
                    self.most[account_id] = max(self.most[account_id], count)


def test_limits_weights_and_pauses_change_under_load(scheduling: Scheduling) -> None:
    """At the end all tasks are completed, and the fixture checks the invariants."""
    load = Load(scheduling, {scheduling.make_account(limit=limit): limit for limit in (0, 1, 3)})
    load.run(others=[lambda: load.operate(3)])


@pytest.mark.costly("threads submit, claim and end tasks side by side", seconds=5)
def test_limits_are_exact_under_load_and_every_seat_comes_back(scheduling: Scheduling, engine: sa.Engine) -> None:
    limits = {scheduling.make_account(limit=limit): limit for limit in (1, 2, 5)}
    load = Load(scheduling, limits)
    load.run(until_over=[lambda: load.watch(engine)])
    assert load.most == limits  # reached, and never passed
    for account_id, limit in limits.items():
        scheduling.fill(account_id, 10)
        assert len(claimed(scheduling, 10)) == limit


# Pauses of an account and of everything: their tasks wait, and all others do not.


EVERYTHING = 0


@pytest.fixture
def other(scheduling: Scheduling) -> int:
    return scheduling.make_account()


def claimed_keys(scheduling: Scheduling, count: int = 100) -> list[int]:
    return [ref.task_key for ref in claimed(scheduling, count)]


@pytest.mark.parametrize("what", [1, EVERYTHING])
def test_what_is_paused_waits_and_other_accounts_do_not(scheduling: Scheduling, other: int, what: int) -> None:
    scheduling.resume(what)  # nothing is paused
    keys, others = scheduling.fill(1, 3), scheduling.fill(other, 3)
    for _ in range(2):
        scheduling.pause(what)
    assert claimed_keys(scheduling) == ([] if what == EVERYTHING else others)
    keys += scheduling.fill(1, 2)  # submits are taken
    assert claimed_keys(scheduling) == []
    assert {scheduling.explain(key)[1] for key in keys} == {PendingReason.PAUSED}
    for _ in range(2):
        scheduling.resume(what)
    assert scheduling.signals[-1].ready
    waited = claimed_keys(scheduling)
    assert [key for key in waited if key in keys] == keys
    assert set(waited) - set(keys) == (set(others) if what == EVERYTHING else set())


def test_the_pauses_of_an_account_and_of_everything_are_independent(scheduling: Scheduling) -> None:
    keys = scheduling.fill(1, 3)
    scheduling.pause(1)
    scheduling.pause()
    scheduling.resume(1)
    assert claimed_keys(scheduling) == []
    scheduling.pause(1)
    scheduling.resume()
    assert claimed_keys(scheduling) == []
    scheduling.resume(1)
    assert claimed_keys(scheduling) == keys


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
    assert claimed_keys(scheduling) == []
    scheduling.resume(what)
    assert set(claimed_keys(scheduling)) == {back.task_key, lost.task_key, failed.task_key}


@pytest.mark.parametrize("what", [1, EVERYTHING])
def test_a_pause_outlives_the_scheduler(scheduling: Scheduling, db_url: str, what: int) -> None:
    keys = scheduling.fill(1, 3)
    scheduling.pause(what)
    with closing(Scheduling(db_url)) as restarted:
        assert claimed_keys(restarted) == []
        restarted.resume(what)
        assert claimed_keys(restarted) == keys


@pytest.mark.parametrize("what", [1, EVERYTHING])
def test_a_pause_waits_for_a_concurrent_claim(scheduling: Scheduling, what: int) -> None:
    """So nothing is leased after its commit."""
    scheduling.fill(1, 5)
    overtaken(scheduling, claims(scheduling, count=2), lambda: scheduling.pause(what))
    assert len(scheduling.sql("SELECT FROM leases")) == 2
    assert claimed_keys(scheduling) == []


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
    assert claimed_keys(scheduling) == []
    scheduling.change_account(limited, max_concurrent_tasks=3)
    assert claimed_keys(scheduling) == []
    scheduling.resume(limited)
    assert claimed_keys(scheduling) == keys[:3]
    assert scheduling.explain(keys[3])[1] is PendingReason.ACCOUNT_LIMIT
    scheduling.pause(limited)
    assert scheduling.explain(keys[3])[1] is PendingReason.ACCOUNT_LIMIT  # the first that holds
    scheduling.change_account(limited, max_concurrent_tasks=0)
    assert scheduling.explain(keys[3])[1] is PendingReason.PAUSED
    assert claimed_keys(scheduling) == []
    scheduling.resume(limited)
    assert claimed_keys(scheduling) == keys[3:]


def test_a_seat_that_waits_for_a_slot_does_not_count_as_the_limit(scheduling: Scheduling) -> None:
    limited = scheduling.make_account(limit=2)
    keys = scheduling.fill(limited, 5)
    claimed_keys(scheduling, 1)
    assert scheduling.explain(keys[-1])[1] is PendingReason.ALL_SLOTS_BUSY
