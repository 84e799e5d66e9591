"""When a CLI counts as broken, capacity, deadlines, and guards that are late."""

from __future__ import annotations

from itertools import count
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_svc.guard.watchdog import CHECK_INTERVAL, Watchdog, overdue_limit
from worker_svc.outcome import Article, Deferred, Failed, Outcome, Reason, failed
from worker_svc.session.deadlines import HeartbeatLog, deadline, grace, time_to_stop
from worker_svc.session.health import (
    ACCOUNT_WINDOW,
    MAX_ERROR,
    MAX_PAUSE,
    MAX_QUICK_FAILURES,
    MIN_PAUSE,
    QUICK_FAILURE_LIMIT,
    CircuitBreaker,
    CircuitState,
)
from worker_svc.session.leases import Lease
from worker_svc.session.slots import Slots

pytestmark = pytest.mark.unit


# When a worker's CLI counts as broken, and how it gets out of that.

WELL: Outcome = Article("an article")
ILL: Outcome = failed(Reason.CREATOR_ERROR, "the CLI exited with status 3")
REFUSED = failed(Reason.INVALID_CREATOR_OPTIONS, "its options are not allowed")
LATER: Outcome = Deferred(30.0)
GONE: Outcome = failed(Reason.CREATOR_CLI_NOT_FOUND, "no such file")
_names = count(1)


def lease(task_id: str = "", account_id: int = 1, *, failed_elsewhere: bool = False) -> Lease:
    """A lease of a task of its own, unless that is said."""
    task_id = task_id or f"task-{next(_names)}"
    lease_id = f"lease of {task_id}"
    return Lease(lease_id, 1, task_id, inf, 0.0, inf, account_id=account_id, failed_elsewhere=failed_elsewhere)


A, B = lease("a"), lease("b")


def state_of(breaker: CircuitBreaker) -> CircuitState:
    """Asked anew each time: what is called in between may change it."""
    return breaker.state


def quick_failures(breaker: CircuitBreaker, number: int = MAX_QUICK_FAILURES) -> None:
    for _ in range(number):
        run(breaker, lease(), ILL)


def opens_with(breaker: CircuitBreaker, number: int = MAX_QUICK_FAILURES) -> None:
    """So many more quick failures open it, and no fewer do."""
    quick_failures(breaker, number - 1)
    assert state_of(breaker) is CircuitState.CLOSED
    quick_failures(breaker, 1)
    assert state_of(breaker) is CircuitState.OPEN


def run(breaker: CircuitBreaker, held: Lease, outcome: Outcome = WELL, lasted: float = 0.1) -> None:
    assert breaker.admit(held)
    breaker.record_run(held, outcome, lasted)
    breaker.record_lease_end(held.lease_id)


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker()
    quick_failures(breaker)
    assert state_of(breaker) is CircuitState.OPEN
    return breaker


def tried(breaker: CircuitBreaker, outcome: Outcome, lasted: float = 0.1) -> None:
    breaker.half_open()
    run(breaker, lease(), outcome, lasted)


def test_a_new_worker_offers_all_its_free_slots_until_five_quick_failures_in_a_row() -> None:
    breaker = CircuitBreaker()
    assert (state_of(breaker), breaker.capacity, breaker.last_error) == (CircuitState.CLOSED, None, "")
    assert breaker.admit(A)
    assert breaker.admit(B)
    opens_with(breaker)
    assert breaker.capacity == 0
    assert breaker.last_error == "CREATOR_ERROR: the CLI exited with status 3"
    assert not breaker.admit(A)


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.CREATOR_CLI_NOT_FOUND, REFUSED.reason}))
def test_whatever_a_run_failed_with_counts(reason: Reason) -> None:
    breaker = CircuitBreaker()
    for _ in range(2):
        breaker.record_run(lease(), failed(reason, "it failed"), 0.1)
    opens_with(breaker, MAX_QUICK_FAILURES - 2)


@pytest.mark.parametrize(("outcome", "lasted"), [(WELL, 0.1), (WELL, 60.0), (ILL, QUICK_FAILURE_LIMIT), (ILL, 60.0)])
def test_a_success_or_a_slow_failure_between_them_starts_the_count_anew(outcome: Outcome, lasted: float) -> None:
    breaker = CircuitBreaker()
    for _ in range(3):
        quick_failures(breaker, 4)
        breaker.record_run(lease(), outcome, lasted)
    assert state_of(breaker) is CircuitState.CLOSED
    opens_with(breaker)


def test_a_task_that_fails_repeatedly_counts_once() -> None:
    breaker = CircuitBreaker()
    for _ in range(20):
        run(breaker, A, ILL)
    opens_with(breaker, MAX_QUICK_FAILURES - 1)


def test_tasks_of_one_account_say_nothing_of_a_cli_that_runs_another_s_nor_with_one_failure_of_that() -> None:
    breaker = CircuitBreaker()
    run(breaker, lease(account_id=2))
    quick_failures(breaker, 60)
    assert state_of(breaker) is CircuitState.CLOSED
    run(breaker, lease(account_id=2), ILL)
    quick_failures(breaker, 30)
    assert state_of(breaker) is CircuitState.CLOSED
    run(breaker, lease(account_id=2), ILL)
    assert state_of(breaker) is CircuitState.OPEN


def test_two_accounts_open_it_as_soon_as_one_alone() -> None:
    breaker = CircuitBreaker()
    for n in range(MAX_QUICK_FAILURES):
        assert state_of(breaker) is CircuitState.CLOSED
        run(breaker, lease(account_id=1 + n % 2), ILL)
    assert state_of(breaker) is CircuitState.OPEN


@pytest.mark.parametrize("between", range(0, ACCOUNT_WINDOW + 33, 33))
def test_another_account_s_tasks_are_forgotten_after_a_while(between: int) -> None:
    breaker = CircuitBreaker()
    for account_id in (2, 1, 2):
        run(breaker, lease(account_id=account_id))
    for _ in range(between):
        run(breaker, lease())
    quick_failures(breaker, MAX_QUICK_FAILURES - 1)
    assert state_of(breaker) is CircuitState.CLOSED
    quick_failures(breaker, 1)
    assert state_of(breaker) is (
        CircuitState.OPEN if between + MAX_QUICK_FAILURES > ACCOUNT_WINDOW else CircuitState.CLOSED
    )


def test_tasks_that_failed_elsewhere_too_are_at_fault_themselves() -> None:
    breaker = CircuitBreaker()
    for _ in range(ACCOUNT_WINDOW - MAX_QUICK_FAILURES):
        run(breaker, lease(failed_elsewhere=True), ILL)
    quick_failures(breaker, MAX_QUICK_FAILURES - 1)
    assert state_of(breaker) is CircuitState.CLOSED, "but they don't start the count anew"
    run(breaker, lease(failed_elsewhere=True), ILL)
    assert state_of(breaker) is CircuitState.OPEN, "nothing but failures for so long speaks against the CLI after all"


def test_a_try_with_one_of_those_makes_the_next_pause_no_longer() -> None:
    breaker = opened()
    for _ in range(10):
        breaker.half_open()
        run(breaker, lease(failed_elsewhere=True), ILL)
        assert (state_of(breaker), breaker.pause) == (CircuitState.OPEN, MIN_PAUSE)
    tried(breaker, ILL)
    assert breaker.pause <= 2 * MIN_PAUSE


def test_no_task_is_a_probe_while_the_cli_cannot_be_run() -> None:
    breaker = opened()
    breaker.reopen("it is not there")
    assert (state_of(breaker), breaker.last_error) == (CircuitState.OPEN, "it is not there")
    for _ in range(20):
        breaker.reopen("it is not there")
    assert breaker.pause >= MAX_PAUSE / 2
    tried(breaker, WELL)
    breaker.reopen("late news")
    assert state_of(breaker) is CircuitState.CLOSED


@pytest.mark.parametrize("lasted", [0.1, 60.0])
def test_a_cli_that_is_gone_opens_it_at_once(lasted: float) -> None:
    breaker = CircuitBreaker()
    breaker.record_run(lease(), GONE, lasted)
    assert (state_of(breaker), breaker.last_error) == (CircuitState.OPEN, "CREATOR_CLI_NOT_FOUND: no such file")
    breaker = CircuitBreaker()
    breaker.record_run(lease(), Failed(Reason.CREATOR_CLI_NOT_FOUND, "x" * 2_000), lasted)
    assert len(breaker.last_error) == MAX_ERROR


def test_a_completed_probe_closes_the_breaker() -> None:
    breaker = opened()
    tried(breaker, WELL)
    assert (state_of(breaker), breaker.capacity, breaker.last_error) == (CircuitState.CLOSED, None, "")
    quick_failures(breaker, 4)
    assert state_of(breaker) is CircuitState.CLOSED, "the count begins anew"


@pytest.mark.parametrize("lasted", [0.1, 60.0])
def test_a_try_that_fails_opens_it_again_however_long_it_took(lasted: float) -> None:
    breaker = opened()
    tried(breaker, failed(Reason.CREATOR_TIMEOUT, "too late"), lasted)
    assert (state_of(breaker), breaker.last_error) == (CircuitState.OPEN, "CREATOR_TIMEOUT: too late")


@pytest.mark.parametrize("outcome", [LATER, REFUSED], ids=["deferred", "not given to the CLI"])
def test_what_says_nothing_of_the_cli_neither_counts_nor_resets_the_count_nor_decides(outcome: Outcome) -> None:
    breaker = CircuitBreaker()
    quick_failures(breaker, MAX_QUICK_FAILURES - 1)
    for _ in range(20):
        breaker.record_run(lease(), outcome, 0.1)
    opens_with(breaker, 1)
    tried(breaker, outcome)
    assert (state_of(breaker), breaker.capacity) == (CircuitState.HALF_OPEN, 1)
    tried(breaker, WELL)
    assert state_of(breaker) is CircuitState.CLOSED


def test_a_single_lease_is_the_probe_and_one_that_decides_nothing_lets_another_in() -> None:
    breaker = opened()
    breaker.half_open()
    assert (state_of(breaker), breaker.capacity) == (CircuitState.HALF_OPEN, 1)
    assert breaker.admit(A)
    assert not breaker.admit(B)
    breaker.record_lease_end("another")
    assert breaker.capacity == 0
    breaker.record_lease_end(A.lease_id)
    assert breaker.capacity == 1
    assert breaker.admit(B)


@pytest.mark.parametrize("outcome", [WELL, ILL, GONE])
def test_a_run_that_began_before_decides_nothing(outcome: Outcome) -> None:
    breaker = opened()
    pause, error = breaker.pause, breaker.last_error
    breaker.record_run(lease("older"), outcome, 60.0)
    assert (state_of(breaker), breaker.pause, breaker.last_error) == (CircuitState.OPEN, pause, error)
    breaker.half_open()
    breaker.record_run(lease("older"), outcome, 60.0)
    assert breaker.capacity == 1


def test_pauses_double_from_one_second_to_five_minutes_and_begin_anew_after_a_success() -> None:
    breaker = opened()
    pauses = [breaker.pause]
    for _ in range(30):
        tried(breaker, ILL)
        pauses.append(breaker.pause)
    bounds = [min(MAX_PAUSE, MIN_PAUSE * 2**n) for n in range(31)]
    assert pauses[0] == MIN_PAUSE
    assert all(max(MIN_PAUSE, bound / 2) <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert len(set(pauses[-10:])) > 1, "workers that fell ill at once don't try at once"
    tried(breaker, WELL)
    quick_failures(breaker)
    assert breaker.pause == MIN_PAUSE


@given(st.lists(st.sampled_from(["offer", "well", "ill", "stopped", "older", "try_again"]), max_size=60))
def test_at_most_one_probe_runs_while_the_breaker_is_not_closed(steps: list[str]) -> None:
    breaker, under_way = opened(), list[Lease]()
    for step in steps:
        if breaker.capacity is None:
            break
        if step == "offer":
            offered = lease()
            under_way += [offered] if breaker.admit(offered) else []
        elif step == "try_again":
            breaker.half_open()
        elif step == "older":
            breaker.record_run(lease("older"), WELL, 60.0)
        elif under_way:
            probe = under_way.pop()
            if step != "stopped":
                breaker.record_run(probe, WELL if step == "well" else ILL, 1.0)
            breaker.record_lease_end(probe.lease_id)
        assert len(under_way) + (breaker.capacity or 0) <= 1


# The arithmetic of capacity.


def running(lease_ids: str, slots: Slots) -> Slots:
    """The slots, of which these leases have taken one each."""
    for lease_id in lease_ids:
        slots.queue(lease_id)
        slots.next()
    return slots


def test_fewer_slots_let_what_runs_run_on() -> None:
    slots = running("abc", Slots(3, 1))
    slots.size = 1
    assert (slots.taken, slots.free()) == (3, 0)
    slots.leave("a")
    slots.leave("b")
    slots.queue("d")
    assert slots.next() is None
    slots.leave("c")
    assert slots.next() == "d"


def test_each_freed_slot_is_worth_a_state_where_nothing_waits() -> None:
    slots = running("abc", Slots(3, 0))
    assert not slots.warrants_heartbeat(0)
    slots.leave("a")
    assert slots.warrants_heartbeat(0)
    assert not slots.warrants_heartbeat(1)


def test_fewer_places_than_are_known_are_worth_a_state() -> None:
    slots = Slots(3, 1)
    slots.size = 2
    assert slots.warrants_heartbeat(4)
    assert not slots.warrants_heartbeat(3)
    assert slots.warrants_heartbeat(2)


def test_a_bound_leaves_no_place_ahead_of_a_slot_and_none_beyond_the_slots() -> None:
    slots = Slots(2, 4)
    assert [slots.free(most) for most in (None, 0, 1, 2, 9)] == [6, 0, 1, 2, 2]
    running("ab", slots)
    assert [slots.free(most) for most in (None, 0, 1)] == [4, 0, 0]
    slots.queue("c")
    assert slots.free(1) == 0


def test_a_new_bound_is_worth_a_state_and_so_is_its_end() -> None:
    slots = Slots(2, 4)
    assert slots.warrants_heartbeat(6, 0)
    assert not slots.warrants_heartbeat(0, 0)
    assert slots.warrants_heartbeat(0, 1)
    assert slots.warrants_heartbeat(1)


def test_a_quarter_of_all_places_is_worth_a_state_while_a_queue_feeds_the_slots() -> None:
    slots = Slots(4, 12)
    for number in range(16):
        slots.queue(str(number))
    for number in range(3):
        slots.leave(str(number))
    assert not slots.warrants_heartbeat(0)
    slots.leave("3")
    assert slots.warrants_heartbeat(0)


@given(st.integers(1, 5), st.integers(0, 5), st.lists(st.sampled_from(["queue", "next", "leave"]), max_size=60))
def test_a_lease_is_in_one_place_and_slots_are_never_overrun(size: int, queue_size: int, steps: list[str]) -> None:
    slots, waiting, running, count = Slots(size, queue_size), list[str](), list[str](), 0
    for step in steps:
        if step == "queue":
            count += 1
            slots.queue(str(count))
            waiting.append(str(count))
        elif step == "next":
            expected = waiting.pop(0) if waiting and len(running) < size else None
            assert slots.next() == expected
            running += [expected] if expected else []
        elif running:
            slots.leave(running.pop(0))
        assert (slots.queued, slots.taken) == (len(waiting), len(running))
        assert slots.free() == max(0, size - len(running) + queue_size - len(waiting))


# How long a guard may be late before its worker counts it as dead.

PATIENCE = 1.0


def watching(deadline: float) -> Watchdog:
    watchdog = Watchdog()
    watchdog.opened("run", deadline, 0.0)
    return watchdog


def first_overdue(watchdog: Watchdog, begin: float, end: float) -> float | None:
    """When the look comes that finds a run overdue, of one each interval."""
    looks = (begin + n * CHECK_INTERVAL for n in range(round((end - begin) / CHECK_INTERVAL) + 1))
    return next((at for at in looks if watchdog.overdue(at, PATIENCE) is not None), None)


@given(st.floats(6, 3600))
def test_a_guard_has_its_grace_and_more_and_is_given_up_before_the_lease_may_expire(lease_ttl: float) -> None:
    assert 0 < grace(lease_ttl) <= time_to_stop(lease_ttl) / 2
    assert grace(lease_ttl) < overdue_limit(grace(lease_ttl)) <= time_to_stop(lease_ttl) - grace(lease_ttl) / 2


def test_a_run_that_has_ended_is_never_overdue() -> None:
    watchdog = watching(5.0)
    assert watchdog
    watchdog.ended("run")
    assert not watchdog
    assert first_overdue(watchdog, 0.0, 10.0) is None


def test_a_renewal_begins_the_wait_anew() -> None:
    watchdog = watching(5.0)
    assert first_overdue(watchdog, 0.0, 5.8) is None
    watchdog.moved({"run": 8.0, "unknown": 8.0})
    assert first_overdue(watchdog, 5.8, 12.0) == pytest.approx(9.0, abs=2 * CHECK_INTERVAL)


@pytest.mark.parametrize("told_to_end", [False, True])
def test_a_run_is_overdue_its_patience_after_its_deadline_and_is_given_no_more_once_told_to_end(
    told_to_end: bool,
) -> None:
    watchdog = watching(5.0)
    if told_to_end:
        watchdog.end_requested("run")
        watchdog.moved({"run": 60.0})
    assert first_overdue(watchdog, 0.0, 10.0) == pytest.approx(6.0, abs=2 * CHECK_INTERVAL)


def test_a_worker_that_stood_still_gives_the_guard_a_moment() -> None:
    watchdog = watching(5.0)
    assert first_overdue(watchdog, 0.0, 4.0) is None
    begun = first_overdue(watchdog, 60.0, 70.0)
    assert begun is not None
    assert 60.5 < begun <= 61.0


def test_a_run_that_begins_past_its_deadline_gives_the_guard_as_long() -> None:
    watchdog = Watchdog()
    watchdog.opened("run", 5.0, 60.0)
    assert first_overdue(watchdog, 60.0, 70.0) == pytest.approx(61.0, abs=2 * CHECK_INTERVAL)


# The deadline rule, and the log of states that it rests on.


@pytest.mark.parametrize(("lease_ttl", "expected"), [(5, 5 / 3), (12, 4), (30, 10), (120, 10)])
def test_the_time_to_stop_is_a_third_of_the_lease_time_ten_seconds_at_most(lease_ttl: float, expected: float) -> None:
    assert time_to_stop(lease_ttl) == pytest.approx(expected)
    assert grace(lease_ttl) == pytest.approx(min(expected / 2, 3.0)), "half of it for TERM, three seconds at most"


@given(st.floats(5, 3600), st.floats(0, 1e6), st.floats(0, 100))
def test_a_deadline_leaves_the_time_to_stop_before_the_lease_runs_out(ttl: float, built: float, delay: float) -> None:
    """The scheduler counts from a transaction that began after the state was built."""
    assert deadline(built, ttl) + time_to_stop(ttl) <= built + delay + ttl + 1e-6


def test_an_assignment_counts_from_when_the_state_that_it_names_was_built() -> None:
    log = HeartbeatLog(30)
    log.sent(1, [], 100.0)
    log.sent(2, [], 105.0)
    assert log.grant_deadline(1) == 120.0
    assert log.grant_deadline(2) == 125.0
    assert log.grant_deadline(7) is None, "it was never sent"
    log.sent(3, [], 120.0)
    assert log.grant_deadline(1) is None, "it is too old"


def test_an_acknowledgement_renews_what_its_state_named_and_nothing_else() -> None:
    log = HeartbeatLog(30)
    log.sent(1, ["a", "b"], 100.0)
    log.sent(2, ["a", "b", "c"], 101.0)
    renewal = log.acknowledged(1, ["b"])
    assert renewal is not None
    assert (renewal.deadline, list(renewal.renewed)) == (120.0, ["a"])
    again = log.acknowledged(1, [])
    assert again is not None
    assert list(again.renewed) == [], "once"
    assert log.awaits_ack
    log.acknowledged(2, [])
    assert not log.awaits_ack
    assert log.acknowledged(9, []) is None


def test_states_that_were_passed_over_for_a_newer_one_await_no_answer() -> None:
    log = HeartbeatLog(30)
    for number in (1, 2, 3):
        log.sent(number, ["a"], 100.0 + number)
    renewal = log.acknowledged(3, [])
    assert renewal is not None
    assert renewal.deadline == 123.0
    assert not log.awaits_ack
