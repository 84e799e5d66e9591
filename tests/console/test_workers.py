"""The pages of workers and webhooks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Dialog, Page, expect

from contentgen import Unavailable
from tests.console.conftest import Place, present
from tests.harness.console import Answer, Visitor
from tests.harness.receivers import Receiver, status
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.browser


# The page of the workers: what runs in which slot, drain, resize, pauses, schedulers.


def test_a_slot_shows_its_task_as_soon_as_it_runs(place: Place, page: Page) -> None:
    page.goto("/workers")
    slots = page.get_by_role("list", name="Slots of worker-1").get_by_role("listitem")
    expect(slots).to_have_text(["free"] * 3)
    with place.running("fills a slot") as task_id:
        expect(slots.first.get_by_role("link", name="fills a slot")).to_have_attribute("href", f"/tasks/{task_id}")
        expect(slots.first.locator("progress")).to_be_visible()
        expect(slots.nth(1)).to_have_text("free")
    expect(slots).to_have_text(["free"] * 3)
    expect(page.get_by_role("row", name="serving")).to_be_visible()


def test_a_worker_is_drained_and_undrained(place: Place, page: Page) -> None:
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
    expect(page.locator("#notices")).to_contain_text("worker-1 takes tasks again")
    expect(page.get_by_role("heading", name="worker-1")).to_contain_text("taking tasks")
    start_time = page.get_by_role("row", name="serving").locator("time")
    expect(start_time).to_have_text(re.compile(r"\bago|now"))
    expect(start_time).to_have_attribute("title", re.compile(r"\d:\d\d:\d\d"))
    page.reload()
    expect(page.locator("#notices")).to_be_empty()


def test_a_worker_is_resized(operator: Visitor) -> None:
    answer = operator.post("/workers/resize", {"worker_id": "worker-1", "slots": "5"}).says("worker-1 has 5 slots now.")
    assert answer.text.count('class="free"') == 5
    operator.post("/workers/resize", {"worker_id": "worker-1", "slots": "3"})


def test_a_bad_number_of_slots_comes_back(operator: Visitor) -> None:
    for text in ("0", "many", "1001", "-3", "²"):
        answer = operator.post("/workers/resize", {"worker_id": "worker-1", "slots": text})
        answer.says("Should be a number from 1 to 1,000.", f'value="{text}" aria-invalid="true"', status=400)


def test_everything_and_an_account_are_paused_and_resumed(place: Place, operator: Visitor) -> None:
    assert "Tasks of all accounts are handed out." in operator.get("/workers").text
    assert "Everything is paused. Running tasks continue." in operator.post("/workers/pause", {}).text
    operator.post("/workers/pause", {"account": str(place.account)})

    def page_with_both() -> Answer | None:
        page = operator.get("/workers")
        return page if page.text.count("By operator") == 2 else None

    page = wait_until(page_with_both, within=10, what="the audit has both pauses")
    page.lacks("Pause everything").says("Everything is paused: no task is handed out.", "Account press is paused.")
    operator.post("/workers/resume", {"account": "0"}).says("Tasks are handed out again.", "Pause everything")
    resumed = operator.post("/workers/resume", {"account": str(place.account)})
    resumed.says("Dispatch of account press is resumed.", "Tasks of all accounts are handed out.")


def test_maintenance_is_on_every_page_until_it_ends(place: Place, operator: Visitor) -> None:
    operator.post("/workers/maintenance", {"minutes": "10", "reason": "new disks"}).says("No new tasks are taken until")
    operator.get("/workers").says("Maintenance: no new tasks are taken until", "new disks", "End maintenance")
    with pytest.raises(Unavailable, match="new disks"):
        place.client.submit_task(place.account, "refused")
    operator.get("/").says("maintenance: no new tasks are taken for the next")
    operator.post("/workers/maintenance", {}).says("New tasks are taken again.", "Take no new tasks")
    operator.get("/workers").lacks("Maintenance: no new tasks are taken until")
    assert operator.post("/workers/maintenance", {"minutes": "soon"}).status == 400


def test_a_bad_account_comes_back(place: Place, operator: Visitor) -> None:
    operator.post("/workers/pause", {"account": "nobody"}).says('value="nobody" aria-invalid="true"', status=400)
    assert operator.post("/workers/pause", {"account": "4711"}).status == 404
    assert place.client.get_dispatch_status() == {
        "all_paused": False,
        "paused_account_ids": [],
        "maintenance": None,
    }


# Webhooks: what an operator sees of them, and does with them.


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def webhook(place: Place, receiver: Receiver) -> str:
    """The page of a webhook for the receiver."""
    return f"/webhooks/{place.client.create_webhook(receiver.url, ['task.ended'])['webhook_id']}"


def test_a_webhook_is_created_and_its_secret_is_shown_once(place: Place, operator: Visitor, receiver: Receiver) -> None:
    assert "New webhook" in operator.get("/webhooks").text
    fields = {"url": receiver.url, "event_types": "publish.failed", "account": str(place.account)}
    answer = operator.post("/webhooks/new", fields)
    (secret,) = re.findall(r"whsec_[\w+/=-]+", answer.text)
    (webhook,) = [candidate for candidate in place.client.iter_webhooks() if candidate["url"] == receiver.url]
    assert (webhook["event_types"], webhook["account_id"]) == (["publish.failed"], place.account)
    for path in ("/webhooks", f"/webhooks/{webhook['webhook_id']}"):
        operator.get(path).says(receiver.url).lacks(secret)


def test_a_bad_form_comes_back_with_what_was_typed(operator: Visitor) -> None:
    fields = {"url": "https://news.example/", "event_types": "task.ended"}
    answer = operator.post("/webhooks/new", {**fields, "url": "http://192.0.2.1/x", "account": ""})
    answer.says('value="http://192.0.2.1/x"', 'id="bad-url"', 'value="task.ended" checked', status=400)
    operator.post("/webhooks/new", {**fields, "account": "4711"}).says('id="bad-account"')
    del fields["event_types"]
    operator.post("/webhooks/new", {**fields, "account": "one"}).says('id="bad-events"', 'id="bad-account"')


def test_a_change_a_pause_and_a_new_secret(place: Place, operator: Visitor, webhook: str) -> None:
    webhook_id, fields = webhook.rpartition("/")[2], {"event_types": "content.approved"}
    operator.post(webhook, {**fields, "url": "http://127.0.0.1/2"}).says(f"Changed webhook {webhook_id}.")
    assert operator.post(webhook, {**fields, "url": "ftp://news.example/"}).status == 400
    operator.post(f"{webhook}/active", {"active": "no"}).says("receives no more events")
    stored = present(place.client.get_webhook(int(webhook_id)))
    assert (stored["url"], stored["event_types"]) == ("http://127.0.0.1/2", ["content.approved"])
    assert not stored["active"]
    operator.post(f"{webhook}/active", {"active": "yes"}).says("receives events again")
    operator.post(f"{webhook}/rotate", {"overlap": "1h"}).says("whsec_", "The secret before it is valid until")
    operator.post(f"{webhook}/delete", {}).says("Deleted webhook")
    assert [operator.get(webhook).status, operator.post(f"{webhook}/delete", {}).status] == [404, 404]


def test_a_ping_says_how_it_went(operator: Visitor, receiver: Receiver, webhook: str) -> None:
    operator.post(f"{webhook}/ping", {}).says("The receiver has answered with 204.")
    receiver.answer = status(500)
    operator.post(f"{webhook}/ping", {}).says("The ping has failed:")
    operator.get(f"{webhook}?status=exhausted").says("webhook.ping", "Send all failed ones again")
    operator.post(f"{webhook}/deliveries", {}).says("1 delivery is sent again.")
    operator.get(f"{webhook}?status=exhausted").says("No delivery is like that").lacks("Send all failed ones again")


def test_a_delivery_is_shown_and_sent_again(place: Place, operator: Visitor, webhook: str) -> None:
    task_id = place.submit("told")
    place.client.wait(task_id, timeout=60)
    (delivery,) = place.client.iter_deliveries(int(webhook.rpartition("/")[2]))
    delivery_id = delivery["delivery_id"]
    operator.get(webhook).says(f'id="delivery-{delivery_id}"', task_id)
    operator.post(f"{webhook}/deliveries/{delivery_id}", {}).says(f"Delivery {delivery_id} is sent again.")
    operator.post(f"{webhook}/active", {"active": "no"})
    assert "is sent again" not in operator.post(f"{webhook}/deliveries/{delivery_id}", {}).text
