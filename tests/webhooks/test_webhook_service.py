"""Webhooks over a real server, with a real receiver: what they get, in which order, how often. Time moves by SQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest
import sqlalchemy as sa
import standardwebhooks
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode, aio

from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import webhook_service_pb2 as pb
from scheduler_svc.domain.webhook import MAX_CONCURRENT_TRIES
from scheduler_svc.replica.replica import Replica
from scheduler_svc.webhooks import loop as webhook_tries
from scheduler_svc.webhooks import sender, service
from scheduler_svc.webhooks import work as deliveries
from tests.api.cases import NOTHING, OTHER_PAGE, OWN, Bad, Good, missing, of, wrong_state
from tests.harness.client import invalid_state, not_found, pages_of, refused
from tests.harness.database_faults import locked_table
from tests.harness.maker import Maker, new_account, submitted
from tests.harness.receivers import DELIVERED, EXHAUSTED, PENDING, Hooks, Receiver, receiving, status
from tests.harness.replicas import channel_to, serving_beside
from tests.harness.scheduling import sql
from tests.harness.stubs import TaskServiceAsyncStub, WebhookServiceAsyncStub

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]

APPROVE, REJECT = content_pb.REVIEW_DECISION_APPROVE, content_pb.REVIEW_DECISION_REJECT


@pytest.fixture
def replica_settings() -> dict[str, str]:
    """Those of one whose webhooks may lead to this machine."""
    return {"webhook_allow": "127.0.0.0/8"}


class Site(Hooks):
    """The webhooks of a replica, their receiver, and an account whose tasks end."""

    def __init__(self, channel: aio.Channel, engine: sa.Engine, receiver: Receiver, account: int = 0) -> None:
        super().__init__(WebhookServiceAsyncStub(channel), engine)
        self.tasks, self.receiver, self.account = TaskServiceAsyncStub(channel), receiver, account

    async def hook(self, *event_types: str, url: str = "", account_id: int = 0) -> int:
        """A new webhook's id; without a `url` it is the receiver's."""
        answer = await self.create(url or self.receiver.url, *event_types, account_id=account_id)
        return answer.webhook.webhook_id

    async def activate(self, hook: int, active: bool) -> None:
        webhook, mask = pb.Webhook(webhook_id=hook, active=active), FieldMask(paths=["active"])
        await self.stub.UpdateWebhook(pb.UpdateWebhookRequest(webhook=webhook, update_mask=mask))

    async def ping(self, hook: int) -> pb.Delivery:
        return (await self.stub.PingWebhook(pb.PingWebhookRequest(webhook_id=hook))).delivery

    async def end_a_task(self, account: int = 0) -> str:
        """Submits a task and cancels it."""
        task_id = await submitted(self.tasks, account or self.account)
        await self.tasks.CancelTask(task_pb.CancelTaskRequest(task_id=task_id))
        return task_id


@pytest.fixture
async def site(channel: aio.Channel, engine: sa.Engine, account: int) -> AsyncIterator[Site]:
    async with receiving() as receiver:
        yield Site(channel, engine, receiver, account)


class TestEvents:
    async def test_an_ended_task_is_told_once_and_signed(self, site: Site) -> None:
        created = await site.create(site.receiver.url, "task.ended")
        task_id = await site.end_a_task()
        (delivery,) = await site.until(created.webhook.webhook_id, DELIVERED)
        (received,) = site.receiver.received
        received.verify(created.secret)
        data = {"task_id": task_id, "account_id": site.account, "status": "cancelled", "reason": "CANCELLED_BY_CLIENT"}
        assert received.message["type"] == "task.ended"
        assert received.message["data"] == data == json.loads(delivery.data)
        assert delivery.create_time.ToJsonString()[:19] == received.message["timestamp"][:19]
        assert (delivery.message_id, delivery.attempt_count, delivery.last_status_code) == (received.message_id, 1, 204)
        assert delivery.HasField("end_time")

    async def test_an_approved_content_comes_with_its_task(self, site: Site, maker: Maker) -> None:
        hook = await site.hook()
        content = await maker()
        await site.until(hook, DELIVERED, DELIVERED)
        assert site.receiver.types == ["content.approved", "task.ended"]
        approved, ended = (received.message["data"] for received in site.receiver.received)
        assert approved["content_id"] == content.content_id
        assert approved["task_id"] == ended["task_id"] == content.task_id
        assert (approved["status"], ended["status"]) == ("approved", "completed")

    @pytest.mark.parametrize(("decision", "event"), [(APPROVE, "content.approved"), (REJECT, "content.rejected")])
    async def test_a_review_is_told_after_the_wait(self, site: Site, maker: Maker, decision: int, event: str) -> None:
        await site.create(site.receiver.url, "content.pending_review", "content.approved", "content.rejected")
        content = await maker(auto_approve=False)
        await maker.review(content.content_id, decision)
        await site.receiver.take(2)
        assert site.receiver.types == ["content.pending_review", event]
        assert {received.message["data"]["content_id"] for received in site.receiver.received} == {content.content_id}

    async def test_reviews_of_a_batch_and_one_that_is_taken_back_are_told(self, site: Site, maker: Maker) -> None:
        hook = await site.hook("content.pending_review", "content.rejected")
        content_id = (await maker()).content_id
        for _ in range(2):  # the second time it waits already, and nothing is told
            await maker.reopen(content_id)
        rejected = content_pb.ReviewContentRequest(content_id=content_id, decision=REJECT)
        await maker.contents.BatchReviewContents(content_pb.BatchReviewContentsRequest(requests=[rejected]))
        await site.until(hook, DELIVERED, DELIVERED)
        assert site.receiver.types == ["content.pending_review", "content.rejected"]

    @pytest.mark.parametrize("rejected", [False, True])
    async def test_a_superseded_content_is_told_as_rejected_once(
        self, site: Site, maker: Maker, rejected: bool
    ) -> None:
        hook = await site.hook("content.rejected")
        old = await maker(auto_approve=not rejected)
        if rejected:
            await maker.review(old.content_id, REJECT)
        again = content_pb.RegenerateContentRequest(content_id=old.content_id, feedback="shorter")
        task_id = (await maker.contents.RegenerateContent(again)).task.task_id
        await maker.worker.complete(await maker.worker.run())
        new = await maker.content_of(task_id)
        await maker.review(new.content_id)
        await site.until(hook, DELIVERED)
        assert site.receiver.received[0].message["data"]["content_id"] == old.content_id

    async def test_a_publication_and_the_last_failure_to_publish_are_told(
        self, site: Site, maker: Maker, engine: sa.Engine
    ) -> None:
        hook = await site.hook("publish.published", "publish.failed")
        contents = [await maker(), await maker()]
        (claimed,) = await maker.claim()
        await maker.report(claimed, published=True)
        for _ in range(3):
            sql(engine, "UPDATE publish_pool SET next_attempt_time = now() WHERE status = 4")
            (claimed,) = await maker.claim()
            await maker.report(claimed)
        await site.until(hook, DELIVERED, DELIVERED)
        assert sorted(site.receiver.types) == ["publish.failed", "publish.published"]
        data_by_type = {received.message["type"]: received.message["data"] for received in site.receiver.received}
        assert [data_by_type[name]["content_id"] for name in ("publish.published", "publish.failed")] == [
            content.content_id for content in contents
        ]
        assert data_by_type["publish.published"]["task_id"] == contents[0].task_id

    async def test_a_failure_that_is_retried_is_no_end(self, site: Site, maker: Maker) -> None:
        hook = await site.hook("task.ended")
        for auto_retry in (True, False):
            task_id = await submitted(maker.tasks, maker.account, auto_retry=auto_retry)
            await maker.worker.fail(await maker.worker.run())
            await maker.worker.heartbeat(0)
        await site.until(hook, DELIVERED)
        data = site.receiver.received[0].message["data"]
        assert (data["task_id"], data["status"], data["reason"]) == (task_id, "failed", "CREATOR_ERROR")

    async def test_only_what_is_wanted_of_whom_is_told(self, site: Site, maker: Maker) -> None:
        own = await site.hook("content.approved", account_id=site.account)
        await site.create(site.receiver.url, "content.rejected")
        await maker()
        await site.until(own, DELIVERED)
        assert site.receiver.types == ["content.approved"]

    @pytest.mark.usefixtures("replica")
    async def test_a_replica_that_could_not_read_the_webhooks_ends_no_task_without_its_event(
        self, site: Site, db_url: str
    ) -> None:
        hook = await site.hook("task.ended")
        async with AsyncExitStack() as stack:
            with locked_table(db_url, "webhooks"):
                starting = serving_beside(db_url, lock_timeout=0.1, webhook_allow="127.0.0.0/8")
                late = await stack.enter_async_context(starting)
                channel = await stack.enter_async_context(channel_to(late))
                tasks = TaskServiceAsyncStub(channel)
                cancel = task_pb.CancelTaskRequest(task_id=await submitted(tasks, site.account))
                with refused(StatusCode.UNAVAILABLE, "LOCK_TIMEOUT"):
                    await tasks.CancelTask(cancel)
            await tasks.CancelTask(cancel)
            await site.until(hook, DELIVERED)


class TestRetries:
    async def test_a_receiver_that_fails_gets_it_again_within_ten_seconds_by_the_same_id(self, site: Site) -> None:
        site.receiver.answer = status(500, "no\x00 disk")
        created = await site.create(site.receiver.url, "task.ended")
        await site.end_a_task()
        failed = await site.tried(created.webhook.webhook_id)
        assert (failed.status, failed.last_status_code, failed.last_error) == (PENDING, 500, "HTTP 500: no disk")
        assert 0 < failed.next_attempt_time.ToNanoseconds() - failed.create_time.ToNanoseconds() < 10e9
        assert (await site.get(created.webhook.webhook_id)).last_error == "HTTP 500: no disk"
        site.receiver.answer = status(200)
        site.pass_time(10)
        await site.until(created.webhook.webhook_id, DELIVERED)
        first, second = site.receiver.received
        assert first.message_id == second.message_id
        assert first.body.split('"data"')[1] == second.body.split('"data"')[1]
        second.verify(created.secret)
        assert (await site.get(created.webhook.webhook_id)).last_error == ""

    async def test_after_three_days_it_is_exhausted_and_can_be_sent_again(self, site: Site) -> None:
        site.receiver.answer = status(503)
        hook = await site.hook("task.ended")
        await site.end_a_task()
        await site.tried(hook)
        site.pass_time(3 * 86_400)
        (exhausted,) = await site.until(hook, EXHAUSTED)
        assert not exhausted.HasField("next_attempt_time")
        site.receiver.answer = status(200)
        request = pb.RedeliverWebhookRequest(delivery_id=exhausted.delivery_id)
        again = (await site.stub.RedeliverWebhook(request)).delivery
        assert (again.status, again.message_id) == (PENDING, exhausted.message_id)
        (delivered,) = await site.until(hook, DELIVERED)
        assert delivered.attempt_count == 1
        assert {received.message_id for received in site.receiver.received} == {exhausted.message_id}

    async def test_all_that_were_given_up_are_sent_again_together(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "REDELIVER_BATCH", 2)
        site.receiver.answer = status(503)
        hook, other = [await site.hook("task.ended") for _ in range(2)]
        for webhook_id in (*[hook] * 4, other):
            await site.stub.PingWebhook(pb.PingWebhookRequest(webhook_id=webhook_id))
        site.receiver.answer = status(200)
        for limit, count in [(3, 3), (0, 1), (0, 0)]:
            request = pb.RedeliverWebhookRequest(webhook_id=hook, status=EXHAUSTED, limit=limit)
            answer = await site.stub.RedeliverWebhook(request)
            assert (answer.redelivered_count, answer.HasField("delivery")) == (count, False)
        await site.until(hook, *[DELIVERED] * 4)
        assert {delivery.status for delivery in await site.deliveries(other)} == {EXHAUSTED}

    async def test_a_receiver_that_is_down_gets_it_once_it_is_up(self, site: Site) -> None:
        async with receiving() as down:
            port = down.port
        hook = await site.hook("task.ended", url=f"http://127.0.0.1:{port}/")
        await site.end_a_task()
        failed = await site.tried(hook)
        assert (failed.last_status_code, failed.last_error[:13]) == (0, "can't connect")
        async with receiving(port) as up:
            site.pass_time(10)
            await site.until(hook, DELIVERED)
            assert up.types == ["task.ended"]

    async def test_a_receiver_that_is_gone_deactivates_its_webhook(self, site: Site) -> None:
        site.receiver.answer = status(410)
        hook = await site.hook("task.ended")
        await site.end_a_task()
        (gone,) = await site.until(hook, EXHAUSTED)
        now = await site.get(hook)
        assert (now.active, now.last_error, gone.last_status_code) == (False, "HTTP 410", 410)
        with invalid_state("inactive", "active"):
            await site.stub.RedeliverWebhook(pb.RedeliverWebhookRequest(delivery_id=gone.delivery_id))
        await site.end_a_task()
        assert len(await site.deliveries(hook)) == 1

    async def test_a_redirect_is_not_followed(self, site: Site) -> None:
        site.receiver.answer = status(307, location=f"{site.receiver.url}/elsewhere")
        hook = await site.hook("task.ended")
        await site.end_a_task()
        failed = await site.tried(hook)
        assert (failed.status, failed.last_status_code) == (PENDING, 307)
        assert failed.last_error == "HTTP 307: redirects are not followed"
        assert [received.path for received in site.receiver.received] == ["/hook"]

    async def test_a_receiver_that_hangs_delays_nobody_else_and_counts_as_a_failure(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sender, "TIMEOUT", 3.0)
        async with receiving() as slow:
            slow.answer = slow.hang
            hanging = await site.hook("task.ended", url=slow.url)
            quick = await site.hook("task.ended")
            for _ in range(6):
                await site.end_a_task()
            await site.until(quick, *[DELIVERED] * 6)
            assert len(slow.received) == 4, "of one webhook no more are tried at a time before one succeeds"
            assert {delivery.status for delivery in await site.deliveries(hanging)} == {PENDING}
            first = (await site.which(hanging, lambda delivery: bool(delivery.last_error)))[0]
            assert first.last_error == "no answer within 3 s"

    async def test_a_receiver_that_succeeds_gets_more_at_a_time(self, site: Site) -> None:
        async with receiving() as steady:
            hook = await site.hook("task.ended", url=steady.url)
            witness = await site.hook("task.ended")
            for _ in range(2):
                await site.end_a_task()
            await site.until(hook, *[DELIVERED] * 2)
            steady.answer = steady.hang
            for _ in range(20):
                await site.end_a_task()
            await steady.take(2 + MAX_CONCURRENT_TRIES)
            await site.until(witness, *[DELIVERED] * 22)
            assert len(steady.received) == 2 + MAX_CONCURRENT_TRIES
            steady.hanging.set()
            await site.until(hook, *[DELIVERED] * 22)

    async def test_slow_receivers_of_other_accounts_take_no_place_from_an_account(
        self, replica: Replica, site: Site, channel: aio.Channel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhook_tries, "MAX_TRIES", 16)
        monkeypatch.setattr(sender, "TIMEOUT", 100.0)
        monkeypatch.setattr(deliveries, "CLAIM_LEASE", timedelta(seconds=200))
        async with receiving() as slow:
            slow.answer = slow.hang
            greedy = [await new_account(channel) for _ in range(2)]
            for account in greedy * 3:
                await site.hook("task.ended", url=slow.url, account_id=account)
            for account in greedy * 4:
                await site.end_a_task(account)
            await site.hook("task.ended", account_id=site.account)
            await site.end_a_task()
            await site.receiver.take(1)
            slow.hanging.set()

    async def test_later_deliveries_of_a_task_wait_for_the_first(self, site: Site, maker: Maker) -> None:
        site.receiver.answer = status(500)
        hook = await site.hook()
        await maker()
        (first,) = await site.which(hook, lambda delivery: bool(delivery.last_error))
        (later,) = await site.which(
            hook, lambda delivery: delivery.delivery_id > first.delivery_id and delivery.next_attempt_time.seconds > 0
        )
        assert later.attempt_count == 0
        assert site.receiver.types == ["content.approved"]
        site.receiver.answer = status(200)
        site.pass_time(10)
        await site.until(hook, DELIVERED, DELIVERED)
        assert site.receiver.types == ["content.approved", "content.approved", "task.ended"]


class TestPing:
    async def test_both_secrets_are_valid_for_a_while(self, site: Site, engine: sa.Engine) -> None:
        created = await site.create(site.receiver.url)
        webhook_id = created.webhook.webhook_id
        request = pb.RotateWebhookSecretRequest(webhook_id=webhook_id, overlap=Duration(seconds=60))
        rotated = await site.stub.RotateWebhookSecret(request)
        assert rotated.webhook.HasField("previous_secret_expire_time")
        assert rotated.secret != created.secret
        await site.ping(webhook_id)
        site.receiver.received[0].verify(created.secret)
        site.receiver.received[0].verify(rotated.secret)
        sql(engine, "UPDATE webhooks SET previous_secret_expire_time = now()")
        await site.ping(webhook_id)
        site.receiver.received[1].verify(rotated.secret)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            site.receiver.received[1].verify(created.secret)
        assert not (await site.get(webhook_id)).HasField("previous_secret_expire_time")

    async def test_a_ping_is_sent_at_once_also_for_an_inactive_webhook(self, site: Site) -> None:
        hook = await site.hook()
        await site.activate(hook, False)
        delivery = await site.ping(hook)
        assert (delivery.status, delivery.event_type, delivery.last_status_code) == (DELIVERED, "webhook.ping", 204)
        assert site.receiver.received[0].message["data"] == {"webhook_id": hook}
        assert await site.deliveries(hook) == [delivery]


class TestManagement:
    async def test_what_the_mask_names_is_changed(self, site: Site) -> None:
        hook = await site.hook()
        wanted = pb.Webhook(webhook_id=hook, url=f"{site.receiver.url}/new", event_types=["publish.failed"])
        mask = FieldMask(paths=["url", "event_types"])
        changed = (await site.stub.UpdateWebhook(pb.UpdateWebhookRequest(webhook=wanted, update_mask=mask))).webhook
        assert (changed.url, list(changed.event_types), changed.active) == (wanted.url, ["publish.failed"], True)
        assert await site.get(hook) == changed

    async def test_an_inactive_webhook_gets_nothing_until_it_is_active(self, site: Site) -> None:
        hook = await site.hook("task.ended")
        for active in (False, True):
            await site.activate(hook, active)
            await site.end_a_task()
        await site.until(hook, DELIVERED)

    async def test_a_deleted_webhook_is_gone_with_its_deliveries(self, site: Site) -> None:
        site.receiver.answer = status(500)
        hook = await site.hook("task.ended")
        await site.end_a_task()
        failed = await site.tried(hook)
        await site.stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=hook))
        for read in (site.get, site.deliveries):
            with not_found("webhook", hook):
                await read(hook)
        with not_found("delivery", failed.delivery_id):
            await site.stub.RedeliverWebhook(pb.RedeliverWebhookRequest(delivery_id=failed.delivery_id))
        await site.end_a_task()
        assert len(site.receiver.received) == 1

    async def test_deliveries_are_listed_by_status_in_pages(self, site: Site) -> None:
        hook = await site.hook("task.ended")
        for _ in range(3):
            await site.end_a_task()
        deliveries = await site.until(hook, DELIVERED, DELIVERED, DELIVERED)
        request = pb.ListDeliveriesRequest(webhook_id=hook, page_size=2)
        assert await pages_of(site.stub.ListDeliveries, request, "deliveries") == [deliveries[:2], deliveries[2:]]
        assert await site.deliveries(hook, status=DELIVERED) == deliveries
        assert await site.deliveries(hook, status=EXHAUSTED) == []


class TestAddresses:
    @pytest.mark.parametrize("url", ["https://8.8.8.8/", "https://[2606:4700::1111]/", "https://no-such.invalid/"])
    async def test_a_public_address_and_a_name_that_does_not_resolve_are_accepted(self, site: Site, url: str) -> None:
        assert (await site.create(url)).webhook.url == url

    async def test_an_address_is_checked_again_when_connecting(self, site: Site, engine: sa.Engine) -> None:
        """The webhook's host leads elsewhere than when it was created."""
        webhook_id = await site.hook()
        for url in (
            f"http://[::ffff:10.0.0.1]:{site.receiver.port}/",
            "https://192.168.0.1/",
            "https://2130706433.invalid/",
        ):
            sql(engine, "UPDATE webhooks SET url = :url", url=url)
            delivery = await site.ping(webhook_id)
            assert (delivery.status, delivery.last_status_code) == (EXHAUSTED, 0)
            assert "CONTENTGEN_WEBHOOK_ALLOW" in delivery.last_error or "does not resolve" in delivery.last_error
        assert site.receiver.received == []


async def test_without_webhooks_no_event_is_stored(site: Site, maker: Maker, engine: sa.Engine) -> None:
    await maker()
    await site.create(site.receiver.url)
    assert sql(engine, "SELECT FROM webhook_deliveries") == []


async def test_many_events_at_a_time_arrive_once_each(site: Site) -> None:
    hook = await site.hook("task.ended")
    ended = await asyncio.gather(*(site.end_a_task() for _ in range(25)))
    await site.until(hook, *[DELIVERED] * 25)
    assert sorted(received.message["data"]["task_id"] for received in site.receiver.received) == sorted(ended)
    assert len({received.message_id for received in site.receiver.received}) == 25


# What tests/api calls: requests that are answered, and those that are refused.
URL = "https://news.example/hook"
EVENTS = ["task.ended", "publish.failed"]
HOOK = of(webhook="hook")
GOOD = [
    Good(
        "CreateWebhook",
        {"account_id": OWN, "url": URL, "event_types": EVENTS},
        {
            "webhook": {"account_id": OWN, "url": URL, "event_types": EVENTS, "active": True, "last_error": ""},
            "secret": lambda secret: secret.startswith("whsec_"),
        },
    ),
    Good("GetWebhook", HOOK, {"webhook": {**HOOK, "account_id": OWN, "create_time": str}}),
    Good("ListWebhooks", of(account="hook"), {"webhooks": [HOOK], "next_page_token": ""}),
    Good(
        "UpdateWebhook",
        {
            "webhook": {**HOOK, "url": URL, "event_types": EVENTS, "active": False},
            "update_mask": "url,eventTypes,active",
        },
        {"webhook": {**HOOK, "active": False}},
    ),
    Good("DeleteWebhook", HOOK, {}),
    Good("RotateWebhookSecret", HOOK, {"webhook": HOOK, "secret": str}),
    Good(
        "RotateWebhookSecret",
        {**HOOK, "overlap": "604800s"},
        {"webhook": {**HOOK, "previous_secret_expire_time": str}, "secret": lambda secret: secret.startswith("whsec_")},
    ),
    Good(
        "PingWebhook",
        HOOK,
        {"delivery": {**HOOK, "event_type": "webhook.ping", "status": "DELIVERY_STATUS_EXHAUSTED", "attempt_count": 1}},
    ),
    Good("ListDeliveries", HOOK, {"deliveries": [], "next_page_token": ""}),
    Good(
        "ListDeliveries",
        {**of(webhook="pinged"), "status": "DELIVERY_STATUS_EXHAUSTED"},
        {"deliveries": [{**of(delivery="pinged"), "message_id": str, "data": str}], "next_page_token": ""},
    ),
    Good(
        "RedeliverWebhook",
        of(delivery="pinged"),
        {"delivery": {"status": "DELIVERY_STATUS_PENDING", "next_attempt_time": str}, "redelivered_count": 1},
    ),
    Good(
        "RedeliverWebhook",
        {**of(webhook="pinged"), "status": "DELIVERY_STATUS_EXHAUSTED", "limit": 2},
        {"redelivered_count": 1},
    ),
]
BAD = [
    Bad("CreateWebhook", {"account_id": -1}, fields=("account_id", "url", "event_types")),
    Bad(
        "CreateWebhook",
        {"url": "https://10.0.0.1/", "event_types": ["task.ended", "webhook.ping"]},
        fields=("url", "event_types[1]"),
    ),
    missing("CreateWebhook", {"account_id": NOTHING, "url": URL, "event_types": EVENTS}, "account"),
    Bad("RotateWebhookSecret", {**HOOK, "overlap": "604801s"}, fields=("overlap",)),
    Bad("UpdateWebhook", {}, fields=("webhook.webhook_id", "update_mask")),
    Bad(
        "UpdateWebhook",
        {"webhook": HOOK, "update_mask": "url,eventTypes,accountId"},
        fields=("update_mask.paths[2]", "webhook.url", "webhook.event_types"),
    ),
    missing("UpdateWebhook", {"webhook": {"webhook_id": NOTHING}, "update_mask": "active"}, "webhook"),
    Bad("ListDeliveries", {"status": 9, "page_size": -1}, fields=("webhook_id", "status", "page_size")),
    Bad("ListDeliveries", {**HOOK, **OTHER_PAGE}, fields=("page_token",)),
    wrong_state("RedeliverWebhook", of(delivery="undeliverable"), "inactive", "active"),
    wrong_state(
        "RedeliverWebhook", {**of(webhook="undeliverable"), "status": "DELIVERY_STATUS_EXHAUSTED"}, "inactive", "active"
    ),
    Bad("RedeliverWebhook", {"status": "DELIVERY_STATUS_EXHAUSTED"}, fields=("delivery_id", "status")),
    Bad(
        "RedeliverWebhook",
        {"delivery_id": 1, "webhook_id": -1, "limit": -1},
        fields=("delivery_id", "webhook_id", "limit", "status"),
    ),
    Bad("RedeliverWebhook", {**HOOK, "status": 9}, fields=("status",)),
    missing("RedeliverWebhook", {"webhook_id": NOTHING, "status": "DELIVERY_STATUS_EXHAUSTED"}, "webhook"),
]
