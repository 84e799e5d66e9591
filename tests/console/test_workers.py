"""The page of the workers: what runs in which slot, drain, resize, pauses, schedulers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.console.conftest import CLIENT, REVIEWER, VIEWER, Place, sign_in
from tests.harness.waiting import wait_until

CHINESE = {"Accept-Language": "zh-CN"}


@contextmanager
def running(place: Place, topic: str) -> Iterator[str]:
    """A task that runs until the end of the block."""
    task_id = place.client.submit_task(account_id=place.account, topic=topic, creator_options={"demo-seconds": "60"})
    try:
        yield task_id
    finally:
        place.client.cancel_task(task_id, force=True)
        place.client.wait(task_id)


def test_a_slot_shows_its_task_as_soon_as_it_runs(place: Place, page: Page) -> None:
    sign_in(page)
    page.goto("/workers")
    slots = page.get_by_role("list", name="Slots of worker-1").get_by_role("listitem")
    expect(slots).to_have_text(["free"] * 3)
    with running(place, "fills a slot") as task_id:
        expect(slots.first.get_by_role("link", name="fills a slot")).to_have_attribute("href", f"/tasks/{task_id}")
        expect(slots.first.locator("progress")).to_be_visible()
        expect(slots.nth(1)).to_have_text("free")
    expect(slots).to_have_text(["free"] * 3)
    expect(page.get_by_role("row", name="serving")).to_be_visible()


def test_a_worker_is_drained_and_undrained(place: Place, page: Page) -> None:
    sign_in(page)
    page.goto("/workers")
    questions: list[str] = []

    def answer(dialog: Dialog) -> None:
        questions.append(dialog.message)
        dialog.accept()

    page.on("dialog", answer)
    page.get_by_role("button", name="Drain", exact=True).click()
    expect(page.locator(".notice")).to_contain_text("worker-1 takes nothing new")
    expect(page.get_by_role("heading", name="worker-1")).to_contain_text("draining")
    expect(page.get_by_role("list", name="Slots of worker-1")).to_contain_text("closed")
    assert questions == ["Drain worker-1? It finishes what it runs, and takes nothing new."]
    page.get_by_role("button", name="Undrain").click()
    expect(page.locator(".notice")).to_contain_text("worker-1 takes tasks again")
    expect(page.get_by_role("heading", name="worker-1")).to_contain_text("taking tasks")


def test_a_worker_is_resized(place: Place) -> None:
    visitor = place.visitor()
    visitor.get("/workers")
    answer = visitor.post("/workers/resize", {"worker_id": "worker-1", "slots": "5"})
    assert "worker-1 has 5 slots now." in answer.text
    assert answer.text.count('class="free"') == 5
    visitor.post("/workers/resize", {"worker_id": "worker-1", "slots": "3"})


@pytest.mark.parametrize("text", ["0", "many", "1001", "-3", "²"])
def test_a_bad_number_of_slots_comes_back(place: Place, text: str) -> None:
    visitor = place.visitor()
    visitor.get("/workers")
    answer = visitor.post("/workers/resize", {"worker_id": "worker-1", "slots": text})
    assert answer.status == 400
    assert "Should be a number from 1 to 1,000." in answer.text
    assert f'value="{text}" aria-invalid="true"' in answer.text


def test_everything_and_an_account_are_paused_and_resumed(place: Place) -> None:
    visitor = place.visitor()
    assert "Tasks of all accounts are handed out." in visitor.get("/workers").text
    assert "Everything is paused. Running tasks continue." in visitor.post("/workers/pause", {}).text
    visitor.post("/workers/pause", {"account": str(place.account)})

    def who() -> str:
        text = visitor.get("/workers").text
        return text if text.count("By operator") == 2 else ""

    pause_text = wait_until(who, within=10, what="the audit has both pauses")
    assert "Everything is paused: no task is handed out." in pause_text
    assert f"Account {place.account} is paused." in pause_text
    assert "Pause everything" not in pause_text
    answer_text = visitor.post("/workers/resume", {"account": "0"}).text
    assert "Tasks are handed out again." in answer_text
    assert "Pause everything" in answer_text
    answer_text = visitor.post("/workers/resume", {"account": str(place.account)}).text
    assert f"Dispatch of account {place.account} is resumed." in answer_text
    assert "Tasks of all accounts are handed out." in visitor.get("/workers").text


def test_a_bad_account_comes_back(place: Place) -> None:
    visitor = place.visitor()
    visitor.get("/workers")
    answer = visitor.post("/workers/pause", {"account": "press"})
    assert answer.status == 400
    assert 'value="press" aria-invalid="true"' in answer.text
    assert visitor.post("/workers/pause", {"account": "4711"}).status == 404
    assert place.client.get_dispatch_status() == {"all_paused": False, "paused_account_ids": []}


@pytest.mark.parametrize("token", [VIEWER, CLIENT])
def test_who_may_not_change_workers_is_offered_nothing(place: Place, token: str) -> None:
    visitor = place.visitor(token)
    text = visitor.get("/workers").text
    assert "worker-1" in text
    for label in ("Drain", "Resize", "Pause everything", "Pause account"):
        assert label not in text
    visitor.get("/")
    for path in ("drain", "undrain", "resize"):
        assert visitor.post(f"/workers/{path}", {"worker_id": "worker-1", "slots": "9"}).status == 400
    for path in ("pause", "resume"):
        assert visitor.post(f"/workers/{path}", {}).status == 400
    assert place.client.get_worker_pool_status()["worker_statuses"][0]["slots"] == 3
    assert not place.client.get_dispatch_status()["all_paused"]


def test_a_reviewer_is_not_led_there(place: Place) -> None:
    visitor = place.visitor(REVIEWER)
    assert "/workers" not in visitor.get("/").text
    assert visitor.get("/workers").status == 400


def test_it_is_in_chinese(place: Place) -> None:
    text = place.visitor().get("/workers", **CHINESE).text
    for word in ("正在派发所有账号的任务。", "接收任务", "空闲", "排空", "调度器", "服务中"):
        assert word in text
