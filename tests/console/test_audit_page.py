"""The audit: who did what, found by filters."""

from __future__ import annotations

import pytest

from tests.console.conftest import VIEWER, Place
from tests.harness.console import Visitor
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.browser


def _rows(visitor: Visitor, query: str) -> str:
    """Returns the body of the page's table."""
    answer = visitor.get(f"/audit?{query}").says(status=200)
    return answer.text.partition("<tbody>")[2]


def test_calls_are_found_by_who_what_and_outcome(place: Place, operator: Visitor) -> None:
    schedule_id = place.client.create_schedule(place.account, "0 9 * * *", {"topic": "audited"})["schedule_id"]
    viewer = place.visitor(VIEWER)
    viewer.post(f"/schedules/{schedule_id}/delete", {})
    created = _rows(operator, "method=ScheduleService/CreateSchedule")
    assert f'<a href="/schedules/{schedule_id}">schedule:{schedule_id}</a>' in created
    assert "ScheduleService/DeleteSchedule" not in created
    refused = wait_until(
        lambda: _rows(operator, "actor=viewer&outcome=refused"), within=20, what="the refused call is recorded"
    )
    assert "PERMISSION_DENIED ROLE_FORBIDDEN" in refused
    assert "CreateSchedule" not in refused
    assert "PERMISSION_DENIED" not in _rows(operator, "outcome=ok")
    assert f"schedule:{schedule_id}" in _rows(operator, f"account={place.account}&from=2020-01-01T00:00")
    assert "<tr>" not in _rows(operator, "to=2020-01-01T00:00")
    assert "No call is like that" in operator.get("/audit?actor=nobody").text


def test_pages_miss_none_of_the_same_time(place: Place, operator: Visitor) -> None:
    account_ids = [account["account_id"] for account in place.client.iter_accounts()]
    accounts = [place.client.create_account(f"a {number}")["account_id"] for number in range(60)]
    ids: list[str] = []
    query = "method=AccountService/CreateAccount"
    while query:
        answer = operator.get(f"/audit?{query}").says(status=200)
        ids += [chunk.partition("<")[0] for chunk in answer.text.split("account:")[1:]]
        query = answer.text.partition('rel="next" href="/audit?')[2].partition('"')[0].replace("&amp;", "&")
    assert sorted(int(text) for text in ids) == sorted({*account_ids, *accounts})
