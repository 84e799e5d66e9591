"""An account's watch that starts far back reads few of the many moves of other accounts."""

from __future__ import annotations

import pytest

from scheduler_svc.application.watch import changes
from scheduler_svc.application.watch.changes import MAX_PAGE, ChangePage, Selection
from tests.harness.scheduling import Scheduling


def read(scheduling: Scheduling, account_id: int, after: int, until: int) -> ChangePage:
    page: ChangePage = scheduling.run(changes.read_selected, Selection(account_id=account_id), after, until)
    return page


def last(scheduling: Scheduling) -> int:
    return int(scheduling.sql("SELECT max(seq) FROM task_events")[0][0])


def test_moves_of_other_accounts_are_passed_over_in_one_transaction(scheduling: Scheduling) -> None:
    other = scheduling.make_account()
    first = scheduling.submit_one()
    scheduling.fill(other, MAX_PAGE + 1)
    second = scheduling.submit_one()
    page = read(scheduling, 1, 0, last(scheduling))
    assert [change.task.task_key for change in page.changes] == [first, second]
    assert page.end == last(scheduling)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_chunks_and_pages_together_are_all_moves(
    scheduling: Scheduling, monkeypatch: pytest.MonkeyPatch, chunk: int, size: int
) -> None:
    other = scheduling.make_account()
    for account_id in (1, other, other, 1, 1, other, 1, other, other, other, 1):
        scheduling.cancel(scheduling.submit_one(account_id=account_id))
    every = [change for change in scheduling.changes() if change.task.account_id == 1]
    monkeypatch.setattr(changes, "MAX_SCAN", chunk)
    monkeypatch.setattr(changes, "MAX_PAGE", size)
    until = last(scheduling)
    found, position = [], 0
    while position < until:
        page = read(scheduling, 1, position, until)
        assert position < page.end <= until, "each page goes on"
        assert len(page.changes) <= size
        found += page.changes
        position = page.end
    assert found == every
