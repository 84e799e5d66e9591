"""When a worker's CLI counts as broken, and how it gets out of that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_svc.health import FIRST_PAUSE, LONGEST_PAUSE, MAX_ERROR, MOST_QUICK_FAILURES, QUICK, Breaker, Circuit
from worker_svc.outcome import Completed, Deferred, Failed, Outcome, Reason, Result, failed

WELL: Outcome = Completed(Result("an article"))
ILL: Outcome = failed(Reason.CREATOR_ERROR, "the CLI exited with status 3")
REFUSED = failed(Reason.INVALID_CREATOR_OPTIONS, "its options are not allowed")
LATER: Outcome = Deferred(30.0)
GONE: Outcome = failed(Reason.CREATOR_CLI_NOT_FOUND, "no such file")


def state_of(breaker: Breaker) -> Circuit:
    """Asked anew each time: what is called in between may change it."""
    return breaker.circuit


def quick_failures(breaker: Breaker, number: int = MOST_QUICK_FAILURES) -> None:
    for _ in range(number):
        breaker.ran("a", ILL, 0.1)


def opened() -> Breaker:
    breaker = Breaker()
    quick_failures(breaker)
    assert state_of(breaker) is Circuit.OPEN
    return breaker


def tried(breaker: Breaker, outcome: Outcome, lasted: float = 0.1) -> None:
    breaker.try_again()
    assert breaker.admit("tried")
    breaker.ran("tried", outcome, lasted)
    breaker.over("tried")


def test_a_new_worker_takes_whatever_there_is_room_for() -> None:
    breaker = Breaker()
    assert (state_of(breaker), breaker.room, breaker.last_error) == (Circuit.CLOSED, None, "")
    assert breaker.admit("a")
    assert breaker.admit("b")


def test_five_quick_failures_in_a_row_open_it() -> None:
    breaker = Breaker()
    quick_failures(breaker, 4)
    assert breaker.admit("a")
    quick_failures(breaker, 1)
    assert (state_of(breaker), breaker.room) == (Circuit.OPEN, 0)
    assert breaker.last_error == "CREATOR_ERROR: the CLI exited with status 3"
    assert not breaker.admit("a")


def test_tasks_that_are_not_given_to_the_cli_say_nothing_of_it() -> None:
    breaker = Breaker()
    for _ in range(MOST_QUICK_FAILURES):
        breaker.ran("a", REFUSED, 0.1)
    assert state_of(breaker) is Circuit.CLOSED
    quick_failures(breaker, 4)
    breaker.ran("a", REFUSED, 0.1)
    quick_failures(breaker, 1)
    assert state_of(breaker) is Circuit.OPEN
    tried(breaker, REFUSED)
    assert (state_of(breaker), breaker.room) == (Circuit.HALF_OPEN, 1)
    tried(breaker, WELL)
    assert state_of(breaker) is Circuit.CLOSED


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.CREATOR_CLI_NOT_FOUND, REFUSED.reason}))
def test_whatever_a_run_failed_with_counts(reason: Reason) -> None:
    breaker = Breaker()
    for _ in range(4):
        breaker.ran("a", failed(reason, "it failed"), 0.1)
    assert state_of(breaker) is Circuit.CLOSED
    breaker.ran("a", failed(reason, "it failed"), 0.1)
    assert state_of(breaker) is Circuit.OPEN


@pytest.mark.parametrize(("outcome", "lasted"), [(WELL, 0.1), (WELL, 60.0), (ILL, QUICK), (ILL, 60.0)])
def test_a_success_or_a_slow_failure_between_them_starts_the_count_anew(outcome: Outcome, lasted: float) -> None:
    breaker = Breaker()
    for _ in range(3):
        quick_failures(breaker, 4)
        breaker.ran("a", outcome, lasted)
    assert state_of(breaker) is Circuit.CLOSED
    quick_failures(breaker)
    assert state_of(breaker) is Circuit.OPEN


@pytest.mark.parametrize("lasted", [0.1, 60.0])
def test_a_cli_that_is_gone_opens_it_at_once(lasted: float) -> None:
    breaker = Breaker()
    breaker.ran("a", GONE, lasted)
    assert (state_of(breaker), breaker.last_error) == (Circuit.OPEN, "CREATOR_CLI_NOT_FOUND: no such file")


def test_after_the_pause_one_lease_is_tried_and_no_other_is_taken() -> None:
    breaker = opened()
    breaker.try_again()
    assert (state_of(breaker), breaker.room) == (Circuit.HALF_OPEN, 1)
    assert breaker.admit("a")
    assert breaker.room == 0
    assert not breaker.admit("b")


def test_one_try_that_completes_closes_it() -> None:
    breaker = opened()
    tried(breaker, WELL)
    assert (state_of(breaker), breaker.room, breaker.last_error) == (Circuit.CLOSED, None, "")
    quick_failures(breaker, 4)
    assert state_of(breaker) is Circuit.CLOSED, "the count begins anew"


@pytest.mark.parametrize("lasted", [0.1, 60.0])
def test_a_try_that_fails_opens_it_again_however_long_it_took(lasted: float) -> None:
    breaker = opened()
    tried(breaker, failed(Reason.CREATOR_TIMEOUT, "too late"), lasted)
    assert (state_of(breaker), breaker.last_error) == (Circuit.OPEN, "CREATOR_TIMEOUT: too late")


def test_what_is_deferred_neither_counts_nor_ends_the_count() -> None:
    breaker = Breaker()
    for _ in range(20):
        breaker.ran("a", LATER, 0.1)
    quick_failures(breaker, 4)
    breaker.ran("a", LATER, 0.1)
    assert state_of(breaker) is Circuit.CLOSED
    quick_failures(breaker, 1)
    assert state_of(breaker) is Circuit.OPEN


def test_a_try_that_is_deferred_decides_nothing() -> None:
    breaker = opened()
    tried(breaker, LATER)
    assert (state_of(breaker), breaker.room) == (Circuit.HALF_OPEN, 1)


def test_a_try_that_decides_nothing_lets_another_one_in() -> None:
    breaker = opened()
    breaker.try_again()
    assert breaker.admit("a")
    breaker.over("another")
    assert breaker.room == 0
    breaker.over("a")
    assert breaker.room == 1
    assert breaker.admit("b")


@pytest.mark.parametrize("outcome", [WELL, ILL, GONE])
def test_a_run_that_began_before_decides_nothing(outcome: Outcome) -> None:
    breaker = opened()
    pause, error = breaker.pause, breaker.last_error
    breaker.ran("older", outcome, 60.0)
    assert (state_of(breaker), breaker.pause, breaker.last_error) == (Circuit.OPEN, pause, error)
    breaker.try_again()
    breaker.ran("older", outcome, 60.0)
    assert breaker.room == 1


def test_pauses_double_from_one_second_to_five_minutes_and_begin_anew_after_a_success() -> None:
    breaker = opened()
    pauses = [breaker.pause]
    for _ in range(30):
        tried(breaker, ILL)
        pauses.append(breaker.pause)
    bounds = [min(LONGEST_PAUSE, FIRST_PAUSE * 2**n) for n in range(31)]
    assert pauses[0] == FIRST_PAUSE
    assert all(max(FIRST_PAUSE, bound / 2) <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))
    assert len(set(pauses[-10:])) > 1, "workers that fell ill at once don't try at once"
    tried(breaker, WELL)
    quick_failures(breaker)
    assert breaker.pause == FIRST_PAUSE


def test_the_error_is_bounded() -> None:
    breaker = Breaker()
    breaker.ran("a", Failed(Reason.CREATOR_CLI_NOT_FOUND, "x" * 2_000), 0.1)
    assert len(breaker.last_error) == MAX_ERROR


runs = st.tuples(st.sampled_from([WELL, ILL, GONE]), st.sampled_from([0.0, 9.9, QUICK, 60.0]))


@given(st.lists(runs, max_size=40))
def test_it_is_open_exactly_after_the_runs_that_open_it(history: list[tuple[Outcome, float]]) -> None:
    breaker = Breaker()
    for n, (outcome, lasted) in enumerate(history, 1):
        if state_of(breaker) is Circuit.OPEN:
            break
        breaker.ran("a", outcome, lasted)
        last = history[max(0, n - MOST_QUICK_FAILURES) : n]
        in_a_row = len(last) == MOST_QUICK_FAILURES and all(it is not WELL and took < QUICK for it, took in last)
        assert (state_of(breaker) is Circuit.OPEN) == (outcome is GONE or in_a_row)


@given(st.lists(st.sampled_from(["offer", "well", "ill", "stopped", "older", "try_again"]), max_size=60))
def test_while_it_is_not_closed_never_more_than_one_is_tried(steps: list[str]) -> None:
    breaker, under_way, made = opened(), list[str](), 0
    for step in steps:
        if breaker.room is None:
            break
        if step == "offer":
            made += 1
            under_way += [str(made)] if breaker.admit(str(made)) else []
        elif step == "try_again":
            breaker.try_again()
        elif step == "older":
            breaker.ran("older", WELL, 60.0)
        elif under_way:
            lease_id = under_way.pop()
            if step != "stopped":
                breaker.ran(lease_id, WELL if step == "well" else ILL, 1.0)
            breaker.over(lease_id)
        assert len(under_way) + (breaker.room or 0) <= 1
