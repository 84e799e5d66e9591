"""Webhooks: what an operator sees of them, and does with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.console.conftest import CLIENT, VIEWER, Place
from tests.harness.console import Visitor


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
