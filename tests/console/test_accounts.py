"""The pages of accounts: the list, one account, create, edit, deactivate, pause."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import CLIENT, VIEWER, Place, sign_in

pytestmark = pytest.mark.browser

CHINESE = {"Accept-Language": "zh-CN"}
FRESH = {
    "name": "news",
    "max_concurrent_tasks": "3",
    "weight": "1.5",
    "max_pending_tasks": "40",
    "max_priority": "8",
    "max_starts_per_minute": "10",
    "max_asset_bytes": "5000000000",
}


def test_an_account_is_created(place: Place, page: Page) -> None:
    sign_in(page)
    page.goto("/accounts")
    page.get_by_role("link", name="New account").click()
    page.get_by_label("Name").fill("weekend pages")
    page.get_by_label("Tasks at once").fill("2")
    page.get_by_label("Weight").fill("0.5")
    page.get_by_role("button", name="Create").click()
    expect(page.locator(".notice")).to_contain_text("was created")
    expect(page.get_by_role("heading", name="weekend pages")).to_be_visible()
    account_id = int(page.url.rpartition("/")[2])
    account = place.client.get_account(account_id)
    assert account is not None
    assert (account["name"], account["max_concurrent_tasks"], account["weight"]) == ("weekend pages", 2, 0.5)
    page.goto("/accounts?name=WEEKEND")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("0 / 2")


def test_bad_fields_come_back_with_what_was_typed(place: Place) -> None:
    visitor = place.visitor()
    visitor.get("/accounts/new")
    fields = {**FRESH, "max_pending_tasks": "forty", "weight": "heavy"}
    answer = visitor.post("/accounts/new", fields)
    assert answer.status == 400
    assert "Should be a whole number." in answer.text
    assert "Should be a number." in answer.text
    assert 'value="forty"' in answer.text
    assert 'value="news"' in answer.text
    answer = visitor.post("/accounts/new", {**FRESH, "max_priority": "11", "name": ""})
    assert answer.status == 400
    assert answer.text.count('aria-invalid="true"') == 2
    assert "news" not in {account["name"] for account in place.client.iter_accounts()}


def test_an_edit_changes_only_what_was_edited(place: Place) -> None:
    account_id = place.client.create_account("before", 1, max_priority=7)["account_id"]
    visitor = place.visitor()
    form = visitor.get(f"/accounts/{account_id}/edit").text
    assert 'name="was-max_concurrent_tasks" value="1"' in form
    old_fields = {"name": "before", "max_concurrent_tasks": "1", "weight": "1"} | dict.fromkeys(
        ("max_pending_tasks", "max_starts_per_minute", "max_asset_bytes"), "0"
    )
    old_fields["max_priority"] = "7"
    fields = {**old_fields, "name": "after", **{f"was-{name}": text for name, text in old_fields.items()}}
    place.client.update_account(account_id, max_concurrent_tasks=9)  # by somebody else, meanwhile
    answer = visitor.post(f"/accounts/{account_id}/edit", fields)
    assert f"Account {account_id} was changed." in answer.text
    account = place.client.get_account(account_id)
    assert account is not None
    assert (account["name"], account["max_concurrent_tasks"], account["max_priority"]) == ("after", 9, 7)
    unchanged_fields = {**fields, "was-name": "after"}
    assert "Nothing was to be changed." in visitor.post(f"/accounts/{account_id}/edit", unchanged_fields).text
    assert visitor.post(f"/accounts/{account_id}/edit", {**fields, "weight": "-1"}).status == 400


def test_an_account_is_deactivated_and_paused_and_both_are_undone(place: Place) -> None:
    account_id = place.client.create_account("for a while")["account_id"]
    path, visitor = f"/accounts/{account_id}", place.visitor()
    visitor.get(path)
    assert f"Account {account_id} takes no submits now." in visitor.post(f"{path}/deactivate", {}).text
    assert "inactive" in visitor.get("/accounts?name=for a while".replace(" ", "+")).text
    assert f"Account {account_id} takes submits again." in visitor.post(f"{path}/activate", {}).text
    fields = {"account": str(account_id), "back": path}
    answer = visitor.post("/workers/pause", fields)
    assert answer.url == place.console.url + path
    task_id = place.client.submit_task(account_id=account_id, topic="it waits")
    text = visitor.get(path).text
    assert "What holds its tasks back" in text
    assert "the end of the pause" in text
    visitor.post("/workers/resume", fields)
    place.client.wait(task_id)
    assert "What holds its tasks back" not in visitor.get(path).text


def test_a_limit_that_holds_tasks_back_is_said_on_three_pages(place: Place) -> None:
    account_id = place.client.create_account("narrow", 1)["account_id"]
    running_task, waiting_task = (
        place.client.submit_task(account_id=account_id, topic=topic, creator_options={"demo-seconds": "60"})
        for topic in ("runs", "waits")
    )
    for change in place.client.watch([running_task]):
        if change["task"]["status"] == "processing":
            break
    visitor, reason = place.visitor(), "1 due task waits: 1 running, 1 allowed at once."
    text = visitor.get(f"/accounts/{account_id}").text
    assert reason in text
    assert "another task of the account to end" in text
    assert "held back" in visitor.get("/accounts").text
    assert reason in visitor.get("/").text
    for task_id in (waiting_task, running_task):
        place.client.cancel_task(task_id, force=True)
        place.client.wait(task_id)


def test_cost_and_score_are_plotted(place: Place, page: Page) -> None:
    account = place.client.create_account("plotted")["account_id"]
    task_id = place.client.submit_task(account_id=account, topic="what it cost")
    task = place.client.wait(task_id)
    content = place.client.get_content(task["content_id"])
    assert content is not None
    sign_in(page)
    page.goto(f"/accounts/{account}?span=24h")
    for plot in ("counts", "durations", "cost", "score"):
        expect(page.locator(f"#plot-{plot} canvas")).to_be_visible()
    page.get_by_text("As a table").click()
    last = page.locator("table.history tbody tr").last
    expect(last.locator("td").first).to_have_attribute("data-value", "1")
    assert content["quality_score"] is not None
    expect(last.locator("td").last).to_have_text(f"{content['quality_score']:.3g}")


def test_who_may_only_read_is_offered_nothing(place: Place) -> None:
    for token in (CLIENT, VIEWER):
        visitor = place.visitor(token)
        assert "New account" not in visitor.get("/accounts").text
        text = visitor.get(f"/accounts/{place.account}").text
        for label in ("Edit", "Deactivate", "Pause"):
            assert f">{label}<" not in text
        visitor.get("/")
        assert visitor.post("/accounts/new", FRESH).status == 400
        answer = visitor.post(f"/accounts/{place.account}/deactivate", {}, Accept_Language="zh-CN")
        assert answer.status == 400
        assert re.search('您的.+ <small lang="en" class="said">.+</small>', answer.text)
    account = place.client.get_account(place.account)
    assert account is not None
    assert account["active"]


def test_an_account_that_does_not_exist_is_said(place: Place) -> None:
    visitor = place.visitor()
    for path in ("/accounts/4711", "/accounts/4711/edit"):
        answer = visitor.get(path)
        assert answer.status == 404
        assert "There is no such account." in answer.text
    assert "No account has such a name." in visitor.get("/accounts?name=nobody").text


def test_they_are_in_chinese(place: Place) -> None:
    visitor = place.visitor()
    assert "新建账号" in visitor.get("/accounts", **CHINESE).text
    assert "每分钟启动数" in visitor.get(f"/accounts/{place.account}", **CHINESE).text
    assert "同时运行的任务数上限" in visitor.get("/accounts/new", **CHINESE).text
