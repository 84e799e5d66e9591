"""The arithmetic of capacity."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker_svc.slots import Slots


def test_free_is_slots_less_runs_plus_queue_less_what_waits() -> None:
    slots = Slots(2, 3)
    assert slots.free() == 5
    for lease_id in "abcd":
        slots.queue(lease_id)
    assert (slots.next(), slots.next(), slots.next()) == ("a", "b", None)
    assert (slots.free(), slots.taken, slots.queued) == (1, 2, 2)
    slots.leave("a")
    assert slots.next() == "c", "first come, first served"
    slots.leave("d")
    assert slots.free() == 3


def test_free_slots_are_never_negative() -> None:
    slots = Slots(1, 0)
    for lease_id in "abc":
        slots.queue(lease_id)
    assert slots.free() == 0
    assert slots.next() == "a"
    assert slots.next() is None


def test_fewer_slots_let_what_runs_run_on() -> None:
    slots = Slots(3, 1)
    for lease_id in "abc":
        slots.queue(lease_id)
        slots.next()
    slots.resize(1)
    assert (slots.taken, slots.free()) == (3, 0)
    slots.leave("a")
    slots.leave("b")
    slots.queue("d")
    assert slots.next() is None
    slots.leave("c")
    assert slots.next() == "d"


def test_each_freed_slot_is_worth_a_state_where_nothing_waits() -> None:
    slots = Slots(3, 0)
    for lease_id in "abc":
        slots.queue(lease_id)
        slots.next()
    assert not slots.warrants_heartbeat(0)
    slots.leave("a")
    assert slots.warrants_heartbeat(0)
    assert not slots.warrants_heartbeat(1)


def test_fewer_places_than_are_known_are_worth_a_state() -> None:
    slots = Slots(3, 1)
    slots.resize(2)
    assert slots.warrants_heartbeat(4)
    assert not slots.warrants_heartbeat(3)
    assert slots.warrants_heartbeat(2)


def test_a_bound_leaves_no_place_ahead_of_a_slot_and_none_beyond_the_slots() -> None:
    slots = Slots(2, 4)
    assert [slots.free(most) for most in (None, 0, 1, 2, 9)] == [6, 0, 1, 2, 2]
    for lease_id in "ab":
        slots.queue(lease_id)
        slots.next()
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
