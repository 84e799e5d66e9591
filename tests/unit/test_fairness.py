"""The tags that make the plain order of the ready index fair."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.fairness import tags


def test_the_first_tag_is_where_the_account_s_finish_was() -> None:
    assert tags(finish_after=10.0, count=3) == [7.0, 8.0, 9.0]


def test_no_tasks_no_tags() -> None:
    assert tags(finish_after=4.0, count=0) == []


def test_an_account_of_twice_the_weight_has_its_tags_twice_as_close() -> None:
    assert tags(finish_after=2.0, count=4, weight=2.0) == [0.0, 0.5, 1.0, 1.5]


@given(batches=st.lists(st.integers(1, 50), min_size=1, max_size=8), weight=st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0]))
def test_batches_one_after_the_other_give_the_tags_of_one_batch(batches: list[int], weight: float) -> None:
    finish, found = 0.0, []
    for count in batches:
        finish += count / weight
        found += tags(finish, count, weight)
    assert found == pytest.approx(tags(finish, sum(batches), weight))


@given(first=st.integers(1, 200), second=st.integers(1, 200))
def test_two_accounts_of_equal_weight_take_turns_whoever_came_first(first: int, second: int) -> None:
    order = sorted([(tag, "a") for tag in tags(first, first)] + [(tag, "b") for tag in tags(second, second)])
    both = order[: 2 * min(first, second)]
    assert [account for _, account in both] == ["a", "b"] * min(first, second)
