"""The pages of workers and webhooks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.console.conftest import CLIENT, REVIEWER, VIEWER, Place, sign_in
from tests.harness.console import Visitor
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.browser


# The page of the workers: what runs in which slot, drain, resize, pauses, schedulers.


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


# Webhooks: what an operator sees of them, and does with them.


class Receiver(ThreadingHTTPServer):
    """Answers with `status`, and keeps the types of what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.status = 204
        self.ids: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Answers(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.ids.append(self.headers["webhook-id"])
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def _receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = Thread(target=receiver.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with _receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def visitor(place: Place) -> Visitor:
    return place.visitor()


def _made(place: Place, url: str) -> int:
    return place.client.create_webhook(url, ["task.ended"])["webhook_id"]


def test_a_webhook_is_created_and_its_secret_is_shown_once(place: Place, visitor: Visitor, receiver: Receiver) -> None:
    assert "New webhook" in visitor.get("/webhooks").text
    visitor.get("/webhooks/new")
    answer = visitor.post(
        "/webhooks/new", {"url": receiver.url, "event_types": "publish.failed", "account": str(place.account)}
    )
    (secret,) = re.findall(r"whsec_[\w+/=-]+", answer.text)
    (webhook,) = [candidate for candidate in place.client.iter_webhooks() if candidate["url"] == receiver.url]
    assert (webhook["event_types"], webhook["account_id"]) == (["publish.failed"], place.account)
    for path in ("/webhooks", f"/webhooks/{webhook['webhook_id']}"):
        text = visitor.get(path).text
        assert receiver.url in text
        assert secret not in text


def test_a_bad_form_comes_back_with_what_was_typed(visitor: Visitor) -> None:
    answer = visitor.post("/webhooks/new", {"url": "http://192.0.2.1/x", "event_types": "task.ended", "account": ""})
    assert answer.status == 400
    assert 'value="http://192.0.2.1/x"' in answer.text
    assert 'id="bad-url"' in answer.text
    assert 'value="task.ended" checked' in answer.text
    answer = visitor.post("/webhooks/new", {"url": "https://news.example/", "account": "one"})
    assert 'id="bad-events"' in answer.text
    assert 'id="bad-account"' in answer.text
    answer = visitor.post(
        "/webhooks/new", {"url": "https://news.example/", "event_types": "task.ended", "account": "4711"}
    )
    assert 'id="bad-account"' in answer.text
    assert visitor.get("/webhooks?account=one").status == 400


def test_a_change_a_pause_and_a_new_secret(place: Place, visitor: Visitor, receiver: Receiver) -> None:
    webhook_id = _made(place, receiver.url)
    path = f"/webhooks/{webhook_id}"
    answer = visitor.post(path, {"url": receiver.url + "2", "event_types": "content.approved"})
    assert f"Changed webhook {webhook_id}." in answer.text
    assert visitor.post(path, {"url": "ftp://news.example/", "event_types": "content.approved"}).status == 400
    assert "receives no more events" in visitor.post(f"{path}/active", {"active": "no"}).text
    webhook = place.client.get_webhook(webhook_id)
    assert webhook is not None
    assert (webhook["url"], webhook["event_types"], webhook["active"]) == (
        receiver.url + "2",
        ["content.approved"],
        False,
    )
    assert "receives events again" in visitor.post(f"{path}/active", {"active": "yes"}).text
    text = visitor.post(f"{path}/rotate", {"overlap": "1h"}).text
    assert "whsec_" in text
    assert "The secret before it is valid until" in text
    assert "Deleted webhook" in visitor.post(f"{path}/delete", {}).text
    assert [visitor.get(path).status, visitor.post(f"{path}/delete", {}).status] == [404, 404]


def test_a_ping_says_how_it_went(place: Place, visitor: Visitor, receiver: Receiver) -> None:
    path = f"/webhooks/{_made(place, receiver.url)}"
    assert "The receiver has answered with 204." in visitor.post(f"{path}/ping", {}).text
    receiver.status = 500
    text = visitor.post(f"{path}/ping", {}).text
    assert "The ping has failed:" in text
    assert "webhook.ping" in visitor.get(f"{path}?status=exhausted").text
    assert "No delivery is like that" in visitor.get(f"{path}?status=pending").text


def test_a_delivery_is_shown_and_sent_again(place: Place, visitor: Visitor, receiver: Receiver) -> None:
    webhook_id = _made(place, receiver.url)
    task_id = place.client.submit_task(account_id=place.account, topic="told")
    place.client.wait(task_id, timeout=60)
    (delivery,) = place.client.iter_deliveries(webhook_id)
    path = f"/webhooks/{webhook_id}"
    text = visitor.get(path).text
    assert f'id="delivery-{delivery["delivery_id"]}"' in text
    assert task_id in text
    answer = visitor.post(f"{path}/deliveries/{delivery['delivery_id']}", {})
    assert f"Delivery {delivery['delivery_id']} is sent again." in answer.text
    visitor.post(f"{path}/active", {"active": "no"})
    assert "is sent again" not in visitor.post(f"{path}/deliveries/{delivery['delivery_id']}", {}).text


def test_who_may_only_read_is_offered_nothing_and_refused(place: Place, receiver: Receiver) -> None:
    webhook_id = _made(place, receiver.url)
    visitor = place.visitor(VIEWER)
    text = visitor.get(f"/webhooks/{webhook_id}").text
    assert receiver.url not in text
    assert "Send a ping" not in text
    assert "New secret" not in text
    assert "New webhook" not in visitor.get("/webhooks").text
    assert visitor.post(f"/webhooks/{webhook_id}/delete", {}).status == 400
    assert place.client.get_webhook(webhook_id) is not None
    client = place.visitor(CLIENT)
    assert 'href="/webhooks"' not in client.get("/").text
    assert client.get("/webhooks").status == 400


def test_it_is_there_in_chinese(place: Place, receiver: Receiver) -> None:
    webhook_id = _made(place, receiver.url)
    visitor = place.visitor()
    visitor.get("/language/zh-CN")
    assert "投递记录" in visitor.get(f"/webhooks/{webhook_id}").text
    assert "新建 Webhook" in visitor.get("/webhooks/new").text
