"""The pages of accounts: the list, one account, create, edit, deactivate, pause."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import Place, present
from tests.harness.console import Visitor

pytestmark = pytest.mark.browser

FRESH = {
    "name": "news",
    "max_concurrent_tasks": "3",
    "weight": "1.5",
    "max_pending_tasks": "40",
    "max_priority": "8",
    "max_starts_per_minute": "10",
    "max_cost_per_month": "500",
    "budget_mode": "hard",
    "currency": "CNY",
    "max_asset_bytes": "5000000000",
}


def test_an_account_is_created_and_found(place: Place, operator: Visitor) -> None:
    fields = {**FRESH, "name": "weekend pages", "max_concurrent_tasks": "2", "weight": "0.5"}
    answer = operator.post("/accounts/new", fields).says("was created", "weekend pages")
    account = present(place.client.get_account(int(answer.url.rpartition("/")[2])))
    assert (account["name"], account["max_concurrent_tasks"], account["weight"]) == ("weekend pages", 2, 0.5)
    assert (account["max_cost_per_month"], account["budget_mode"], account["currency"]) == (500.0, "hard", "CNY")
    operator.get(f"/accounts/{account['account_id']}").says("0.00 of 500.00 used")
    rows = operator.get("/accounts?name=WEEKEND").text.partition("<tbody>")[2]
    assert (rows.count("<tr"), "0 / 2" in rows) == (1, True)


def test_bad_fields_come_back_with_what_was_typed(place: Place, operator: Visitor) -> None:
    fields = {**FRESH, "max_pending_tasks": "forty", "weight": "heavy"}
    answer = operator.post("/accounts/new", fields).says('value="forty"', 'value="news"', status=400)
    answer.says("It should be a number from 0 to 2,147,483,647.", "It should be a number from 0.000001 to 1,000.")
    answer = operator.post("/accounts/new", {**FRESH, "max_priority": "11", "name": ""}).says(status=400)
    assert answer.text.count('aria-invalid="true"') == 2
    assert "news" not in {account["name"] for account in place.client.iter_accounts()}


def test_an_edit_changes_only_what_was_edited(place: Place, operator: Visitor) -> None:
    account_id = place.client.create_account("before", 1, max_priority=7)["account_id"]
    path = f"/accounts/{account_id}/edit"
    assert 'name="was-max_concurrent_tasks" value="1"' in operator.get(path).text
    old_fields = {**dict.fromkeys(FRESH, "0"), "name": "before", "max_concurrent_tasks": "1", "weight": "1"}
    old_fields |= {"max_priority": "7", "budget_mode": "soft", "currency": ""}
    fields = {**old_fields, "name": "after", **{f"was-{name}": text for name, text in old_fields.items()}}
    place.client.update_account(account_id, max_concurrent_tasks=9)  # by somebody else, meanwhile
    assert f"Account {account_id} was changed." in operator.post(path, fields).text
    account = present(place.client.get_account(account_id))
    assert (account["name"], account["max_concurrent_tasks"], account["max_priority"]) == ("after", 9, 7)
    assert "Nothing was to be changed." in operator.post(path, {**fields, "was-name": "after"}).text
    assert operator.post(path, {**fields, "weight": "-1"}).status == 400


def test_an_account_is_deactivated_and_paused_and_both_are_undone(place: Place, operator: Visitor) -> None:
    account_id = place.client.create_account("for a while")["account_id"]
    path = f"/accounts/{account_id}"
    assert f"Account {account_id} takes no submits now." in operator.post(f"{path}/deactivate", {}).text
    assert "inactive" in operator.get("/accounts?name=for a while".replace(" ", "+")).text
    assert f"Account {account_id} takes submits again." in operator.post(f"{path}/activate", {}).text
    fields = {"account": str(account_id), "back": path}
    answer = operator.post("/workers/pause", fields)
    assert answer.url == place.console.url + path
    task_id = place.client.submit_task(account_id=account_id, topic="it waits")
    operator.get(path).says("What holds its tasks back", "the end of the pause")
    operator.post("/workers/resume", fields)
    place.client.wait(task_id)
    assert "What holds its tasks back" not in operator.get(path).text


def test_a_limit_that_holds_tasks_back_is_said_on_three_pages(place: Place, operator: Visitor) -> None:
    account_id = place.client.create_account("narrow", 1)["account_id"]
    with place.running("runs", account_id) as task_id, place.running("waits", account_id):
        for change in place.client.watch([task_id]):
            if change["task"]["status"] == "processing":
                break
        reason = "1 due task waits: 1 running, 1 allowed at once."
        operator.get(f"/accounts/{account_id}").says(reason, "another task of the account to end")
        operator.get("/accounts").says("held back")
        operator.get("/").says(reason)


def test_cost_and_score_are_plotted(place: Place, page: Page) -> None:
    account = place.client.create_account("plotted")["account_id"]
    task_id = place.client.submit_task(account_id=account, topic="what it cost")
    content = place.content(place.client.wait(task_id)["content_id"])
    page.goto(f"/accounts/{account}?span=24h")
    for plot in ("counts", "durations", "cost", "score"):
        expect(page.locator(f"#plot-{plot} canvas")).to_be_visible()
    page.get_by_text("As a table").click()
    last = page.locator("table.history tbody tr").last
    expect(last.locator("td").first).to_have_attribute("data-value", "1")
    assert content["quality_score"] is not None
    expect(last.locator("td").last).to_have_text(f"{content['quality_score']:.3g}")


def test_an_account_that_does_not_exist_is_said(operator: Visitor) -> None:
    for path in ("/accounts/4711", "/accounts/4711/edit"):
        operator.get(path).says("There is no such account.", status=404)
    assert "No account has such a name." in operator.get("/accounts?name=nobody").text


def test_accounts_go_by_name_and_the_whole_console_is_switched_to_one(place: Place) -> None:
    visitor = place.visitor()
    own, other = (place.client.create_account(name)["account_id"] for name in ("晨报", "晚报"))
    twins = [place.client.create_account("twins")["account_id"] for _ in range(2)]
    visitor.post(f"/accounts/{own}/activate", {})  # reads the names anew
    for account_id, topic in ((own, "of the morning"), (other, "of the evening")):
        place.client.submit_task(account_id, topic, schedule_time="2099-01-01T00:00:00Z")
    visitor.get(f"/tasks?{urlencode({'account': '晨报'})}").says("of the morning", "<bdi>晨报</bdi>").lacks(
        "of the evening"
    )
    visitor.get("/tasks?account=twins").says(f"Several accounts have this name: {twins[0]}, {twins[1]}", status=400)
    visitor.get("/pool?account=nobody").says("No account has this name", status=400)
    visitor.post("/account", {"account": "晚报"})
    visitor.get("/tasks").says("of the evening").lacks("of the morning")
    visitor.get("/accounts").says("晚报").lacks("<bdi>晨报</bdi></a>")
    visitor.get("/new").says(f'value="{other}" selected')
    visitor.post("/account", {"account": "nobody"}).says("No account has this name")
    channel = {"url": "json://127.0.0.1:9", "event_types": "task.failed", "accounts": f"晨报，{other}、twins"}
    visitor.get("/notifications/new").says('name="accounts" type="text" value="晚报"')
    visitor.post("/notifications/new", channel).says("Several accounts have this name", 'value="晨报，')
    made = visitor.post("/notifications/new", {**channel, "accounts": f"晨报，{other}、 "}).says('value="晨报, 晚报"')
    assert made.url.rpartition("/")[2].isdigit(), made.text
    visitor.get("/notifications").says("<bdi>晨报</bdi>", "<bdi>晚报</bdi>")
    visitor.post(f"{made.url.removeprefix(place.console.url)}/delete", {})
    visitor.post("/account", {"all": "yes"})
    visitor.get("/tasks").says("of the evening", "of the morning")
