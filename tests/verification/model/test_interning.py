"""Parts of states as numbers: what is alike is one, and a step changes nothing but what it makes."""

from __future__ import annotations

from verification.model.interning import Parts, RolledBack
from worker_svc.session.leases import Lease, LeaseBook


def test_equal_parts_have_one_number_and_the_order_of_a_mapping_counts() -> None:
    parts: Parts[dict[str, int]] = Parts()
    assert parts.number({"a": 1, "b": 2}) == parts.number({"a": 1, "b": 2})
    assert parts.number({"b": 2, "a": 1}) != parts.number({"a": 1, "b": 2})


def test_objects_of_production_are_told_apart_by_all_that_is_in_them() -> None:
    parts: Parts[LeaseBook] = Parts()
    books = [LeaseBook(), LeaseBook(), LeaseBook()]
    for book, deadline in zip(books, (1.0, 1.0, 2.0), strict=True):
        book.assign(Lease("lease", 1, "task", 1.0, 0.0, deadline))
    first, second, third = map(parts.number, books)
    assert first == second != third


def test_a_step_works_on_a_copy_and_is_computed_once() -> None:
    parts: Parts[list[int]] = Parts()
    begin, calls = parts.number([1]), []

    def push(value: list[int]) -> str:
        calls.append(len(value))
        value.append(2)
        return "pushed"

    assert parts.step(begin, "push", push) == parts.step(begin, "push", push)
    assert (parts[begin], parts[parts.step(begin, "push", push)[0]], calls) == ([1], [1, 2], [1])


def test_a_step_that_is_rolled_back_changes_nothing() -> None:
    parts: Parts[list[int]] = Parts()
    begin = parts.number([1])

    def give_up(value: list[int]) -> None:
        value.clear()
        raise RolledBack

    assert parts.step(begin, "give up", give_up) == (begin, None)
    assert parts[begin] == [1]
