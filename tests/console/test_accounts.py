"""The pages of accounts: the list, one account, create, edit, deactivate, pause."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.console.conftest import CLIENT, VIEWER, Place, sign_in

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
    made = place.client.get_account(account_id)
    assert made is not None
    assert (made["name"], made["max_concurrent_tasks"], made["weight"]) == ("weekend pages", 2, 0.5)
    page.goto("/accounts?name=WEEKEND")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("0 / 2")


def test_bad_fields_come_back_with_what_was_typed(place: Place) -> None:
    visitor = place.visitor()
    visitor.get("/accounts/new")
    bad = {**FRESH, "max_pending_tasks": "forty", "weight": "heavy"}
    refused = visitor.post("/accounts/new", bad)
    assert refused.status == 400
    assert "Should be a whole number." in refused.text
    assert "Should be a number." in refused.text
    assert 'value="forty"' in refused.text
    assert 'value="news"' in refused.text
    refused = visitor.post("/accounts/new", {**FRESH, "max_priority": "11", "name": ""})
    assert refused.status == 400
    assert refused.text.count('aria-invalid="true"') == 2
    assert "news" not in {account["name"] for account in place.client.iter_accounts()}


def test_an_edit_changes_only_what_was_edited(place: Place) -> None:
    account_id = place.client.create_account("before", 1, max_priority=7)["account_id"]
    visitor = place.visitor()
    form = visitor.get(f"/accounts/{account_id}/edit").text
    assert 'name="was-max_concurrent_tasks" value="1"' in form
    was = {"name": "before", "max_concurrent_tasks": "1", "weight": "1"} | dict.fromkeys(
        ("max_pending_tasks", "max_starts_per_minute", "max_asset_bytes"), "0"
    )
    was["max_priority"] = "7"
    sent = {**was, "name": "after", **{f"was-{name}": text for name, text in was.items()}}
    place.client.update_account(account_id, max_concurrent_tasks=9)  # by somebody else, meanwhile
    shown = visitor.post(f"/accounts/{account_id}/edit", sent)
    assert f"Account {account_id} was changed." in shown.text
    changed = place.client.get_account(account_id)
    assert changed is not None
    assert (changed["name"], changed["max_concurrent_tasks"], changed["max_priority"]) == ("after", 9, 7)
    same = {**sent, "was-name": "after"}
    assert "Nothing was to be changed." in visitor.post(f"/accounts/{account_id}/edit", same).text
    assert visitor.post(f"/accounts/{account_id}/edit", {**sent, "weight": "-1"}).status == 400


def test_an_account_is_deactivated_and_paused_and_both_are_undone(place: Place) -> None:
    account_id = place.client.create_account("for a while")["account_id"]
    at, visitor = f"/accounts/{account_id}", place.visitor()
    visitor.get(at)
    assert f"Account {account_id} takes no submits now." in visitor.post(f"{at}/deactivate", {}).text
    assert "inactive" in visitor.get("/accounts?name=for a while".replace(" ", "+")).text
    assert f"Account {account_id} takes submits again." in visitor.post(f"{at}/activate", {}).text
    here = {"account": str(account_id), "back": at}
    paused = visitor.post("/workers/pause", here)
    assert paused.url == place.console.url + at
    task_id = place.client.submit_task(account_id=account_id, topic="it waits")
    waiting = visitor.get(at).text
    assert "What holds its tasks back" in waiting
    assert "the end of the pause" in waiting
    visitor.post("/workers/resume", here)
    place.client.wait(task_id)
    assert "What holds its tasks back" not in visitor.get(at).text


def test_a_limit_that_holds_tasks_back_is_said_on_three_pages(place: Place) -> None:
    account_id = place.client.create_account("narrow", 1)["account_id"]
    runs, waits = (
        place.client.submit_task(account_id=account_id, topic=topic, creator_options={"demo-seconds": "60"})
        for topic in ("runs", "waits")
    )
    for change in place.client.watch([runs]):
        if change["task"]["status"] == "processing":
            break
    visitor, said = place.visitor(), "1 due task waits: 1 running, 1 allowed at once."
    shown = visitor.get(f"/accounts/{account_id}").text
    assert said in shown
    assert "another task of the account to end" in shown
    assert "held back" in visitor.get("/accounts").text
    assert said in visitor.get("/").text
    for task_id in (waits, runs):
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
        shown = visitor.get(f"/accounts/{place.account}").text
        for label in ("Edit", "Deactivate", "Pause"):
            assert f">{label}<" not in shown
        visitor.get("/")
        assert visitor.post("/accounts/new", FRESH).status == 400
        refused = visitor.post(f"/accounts/{place.account}/deactivate", {}, Accept_Language="zh-CN")
        assert refused.status == 400
        assert re.search('您的.+ <small lang="en" class="said">.+</small>', refused.text)
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
