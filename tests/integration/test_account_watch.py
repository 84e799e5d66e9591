"""A watch of accounts that starts far back reads few of the many moves of others."""

from __future__ import annotations

import pytest

from scheduler_svc.domain.access import ALL, Scope
from scheduler_svc.watch import work as changes
from scheduler_svc.watch.work import MAX_PAGE, ChangePage, Selection
from tests.harness.scheduling import Scheduling


def read(scheduling: Scheduling, scope: Scope, after: int, until: int) -> ChangePage:
    page: ChangePage = scheduling.run(changes.read_selected, Selection(scope=scope), after, until, changes.MAX_PAGE)
    return page


def last(scheduling: Scheduling) -> int:
    return int(scheduling.sql("SELECT max(seq) FROM task_events")[0][0])


def test_moves_of_other_accounts_are_passed_over_in_one_transaction(scheduling: Scheduling) -> None:
    other = scheduling.make_account()
    first = scheduling.submit_one()
    scheduling.fill(other, MAX_PAGE + 1)
    second = scheduling.submit_one()
    page = read(scheduling, Scope.of(1), 0, last(scheduling))
    assert [change.task.task_key for change in page.changes] == [first, second]
    assert page.end == last(scheduling)


@pytest.mark.parametrize("scope", [Scope((1,)), Scope((1, 3)), ALL], ids=["one", "two", "all"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_chunks_and_pages_together_are_all_moves(
    scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch, scope: Scope, chunk: int, size: int
) -> None:
    assert [scheduling.make_account() for _ in range(2)] == [2, 3]
    for account_id in (1, 2, 3, 1, 1, 2, 1, 3, 2, 2, 1):
        scheduling.cancel(scheduling.submit_one(account_id=account_id))
    every = [change for change in scheduling.changes() if change.task.account_id in scope]
    monkeypatch.setattr(changes, "MAX_SCAN", chunk)
    monkeypatch.setattr(changes, "MAX_PAGE", size)
    until = last(scheduling)
    moves, position = [], 0
    while position < until:
        page = read(scheduling, scope, position, until)
        assert position < page.end <= until, "each page goes on"
        assert len(page.changes) <= size
        moves += page.changes
        position = page.end
    assert moves == every


@pytest.mark.parametrize("size", [1, 2, 1_000])
def test_the_present_states_of_several_accounts_are_in_the_order_of_their_keys(
    scheduling: Scheduling, size: int
) -> None:
    for _ in range(2):
        scheduling.make_account()
    keys = [scheduling.submit_one(account_id=account_id) for account_id in (3, 1, 2, 3, 1)]
    scheduling.cancel(keys[0])
    seen, after, full = list[int](), 0, True
    while full:
        page = scheduling.run(changes.read_present, Selection(scope=Scope((1, 3))), last(scheduling), after, size)
        seen, after, full = [*seen, *(change.task.task_key for change in page.changes)], page.end, page.full
    assert seen == [keys[1], keys[3], keys[4]]
