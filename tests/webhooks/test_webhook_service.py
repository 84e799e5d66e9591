"""Webhooks over a real server, with a real receiver: what they get, in which order, how often. Time moves by SQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import standardwebhooks
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode, aio

from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_service_pb2 as task_pb
from contentgen.v1 import webhook_service_pb2 as pb
from contentgen.v1.account_service_pb2_grpc import AccountServiceStub
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceStub
from scheduler_svc.domain.webhook import MAX_CONCURRENT_TRIES, MAX_WEBHOOKS
from scheduler_svc.replica.replica import Replica
from scheduler_svc.webhooks import loop as webhook_tries
from scheduler_svc.webhooks import sender
from scheduler_svc.webhooks import work as deliveries
from tests.harness.client import refused
from tests.harness.database_faults import locked_table
from tests.harness.maker import Maker
from tests.harness.receivers import DELIVERED, EXHAUSTED, PENDING, Hooks, Receiver, receiving, status
from tests.harness.replicas import serving, serving_beside

if TYPE_CHECKING:
    from contentgen.v1.task_service_pb2_grpc import TaskServiceAsyncStub

pytestmark = [pytest.mark.contract, pytest.mark.usefixtures("shared_scheduler")]


@pytest.fixture
async def replica(db_url: str) -> AsyncIterator[Replica]:
    async with serving(db_url, webhook_allow="127.0.0.0/8") as replica:
        yield replica


@pytest.fixture
def hooks(channel: aio.Channel, engine: sa.Engine) -> Hooks:
    return Hooks(WebhookServiceStub(channel), engine)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def end_a_task(tasks: TaskServiceAsyncStub, account: int) -> str:
    """Submits a task and cancels it."""
    submitted = await tasks.SubmitTask(task_pb.SubmitTaskRequest(account_id=account, topic="a topic"))
    await tasks.CancelTask(task_pb.CancelTaskRequest(task_id=submitted.task.task_id))
    return submitted.task.task_id


async def make_account(channel: aio.Channel) -> int:
    request = account_pb.CreateAccountRequest(name="another")
    return (await AccountServiceStub(channel).CreateAccount(request)).account.account_id


async def publish(made: Maker, *, published: bool) -> content_pb.PublishPoolEntry:
    """Claims the only entry of the pool, and reports it."""
    (entry,) = (await made.contents.ClaimPublishPool(content_pb.ClaimPublishPoolRequest())).entries
    report = content_pb.ReportPublishedRequest(
        content_id=entry.content_id, claim_id=entry.claim_id, published=published
    )
    return (await made.contents.ReportPublished(report)).entry


class TestEvents:
    async def test_an_ended_task_is_told_once_and_signed(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        created = await hooks.create(receiver.url, "task.ended")
        task_id = await end_a_task(tasks, account)
        (delivery,) = await hooks.until(created.webhook.webhook_id, DELIVERED)
        (received,) = receiver.received
        received.verify(created.secret)
        data = {"task_id": task_id, "account_id": account, "status": "cancelled", "reason": "CANCELLED_BY_CLIENT"}
        assert received.message["type"] == "task.ended"
        assert received.message["data"] == data == json.loads(delivery.data)
        assert delivery.create_time.ToJsonString()[:19] == received.message["timestamp"][:19]
        assert (delivery.message_id, delivery.attempt_count, delivery.last_status_code) == (received.message_id, 1, 204)
        assert delivery.HasField("end_time")

    async def test_an_approved_content_comes_with_its_task(self, hooks: Hooks, receiver: Receiver, made: Maker) -> None:
        hook = (await hooks.create(receiver.url)).webhook
        content = await made()
        await hooks.until(hook.webhook_id, DELIVERED, DELIVERED)
        assert receiver.types == ["content.approved", "task.ended"]
        approved, ended = (received.message["data"] for received in receiver.received)
        assert approved["content_id"] == content.content_id
        assert approved["task_id"] == ended["task_id"] == content.task_id
        assert (approved["status"], ended["status"]) == ("approved", "completed")

    @pytest.mark.parametrize(
        ("decision", "told"),
        [
            (content_pb.REVIEW_DECISION_APPROVE, "content.approved"),
            (content_pb.REVIEW_DECISION_REJECT, "content.rejected"),
        ],
    )
    async def test_a_review_is_told_after_its_content_waited_for_it(
        self, hooks: Hooks, receiver: Receiver, made: Maker, decision: content_pb.ReviewDecision.ValueType, told: str
    ) -> None:
        await hooks.create(receiver.url, "content.pending_review", "content.approved", "content.rejected")
        content = await made(auto_approve=False)
        request = content_pb.ReviewContentRequest(content_id=content.content_id, decision=decision)
        await made.contents.ReviewContent(request)
        await receiver.take(2)
        assert receiver.types == ["content.pending_review", told]
        assert {received.message["data"]["content_id"] for received in receiver.received} == {content.content_id}

    async def test_reviews_of_a_batch_and_one_that_is_taken_back_are_told(
        self, hooks: Hooks, receiver: Receiver, made: Maker
    ) -> None:
        hook = (await hooks.create(receiver.url, "content.pending_review", "content.rejected")).webhook
        content_id = (await made()).content_id
        for _ in range(2):  # the second time it waits already, and nothing is told
            await made.contents.ReopenContent(content_pb.ReopenContentRequest(content_id=content_id))
        review = content_pb.ReviewContentRequest(content_id=content_id, decision=content_pb.REVIEW_DECISION_REJECT)
        await made.contents.BatchReviewContents(content_pb.BatchReviewContentsRequest(requests=[review]))
        await hooks.until(hook.webhook_id, DELIVERED, DELIVERED)
        assert receiver.types == ["content.pending_review", "content.rejected"]

    @pytest.mark.parametrize("rejected", [False, True])
    async def test_a_superseded_content_is_told_as_rejected_once(
        self, hooks: Hooks, receiver: Receiver, made: Maker, rejected: bool
    ) -> None:
        hook = (await hooks.create(receiver.url, "content.rejected")).webhook
        old = await made(auto_approve=not rejected)
        if rejected:
            decision = content_pb.REVIEW_DECISION_REJECT
            review = content_pb.ReviewContentRequest(content_id=old.content_id, decision=decision)
            await made.contents.ReviewContent(review)
        again = content_pb.RegenerateContentRequest(content_id=old.content_id, feedback="shorter")
        task_id = (await made.contents.RegenerateContent(again)).task.task_id
        (lease,) = await made.worker.take()
        await made.worker.start(lease)
        await made.worker.complete(lease)
        new = (await made.tasks.GetTask(task_pb.GetTaskRequest(task_id=task_id))).task.content_id
        decision = content_pb.REVIEW_DECISION_APPROVE
        await made.contents.ReviewContent(content_pb.ReviewContentRequest(content_id=new, decision=decision))
        await hooks.until(hook.webhook_id, DELIVERED)
        assert receiver.received[0].message["data"]["content_id"] == old.content_id

    async def test_a_publication_is_told(self, hooks: Hooks, receiver: Receiver, made: Maker) -> None:
        hook = (await hooks.create(receiver.url, "publish.published", "publish.failed")).webhook
        content = await made()
        await publish(made, published=True)
        await hooks.until(hook.webhook_id, DELIVERED)
        assert receiver.types == ["publish.published"]
        data = receiver.received[0].message["data"]
        assert (data["content_id"], data["task_id"]) == (content.content_id, content.task_id)

    async def test_the_last_failure_to_publish_is_told(
        self, hooks: Hooks, receiver: Receiver, made: Maker, engine: sa.Engine
    ) -> None:
        hook = (await hooks.create(receiver.url, "publish.published", "publish.failed")).webhook
        content = await made()
        while (await publish(made, published=False)).status != content_pb.PUBLISH_STATUS_FAILED:
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE publish_pool SET next_attempt_time = now()"))
        await hooks.until(hook.webhook_id, DELIVERED)
        assert receiver.types == ["publish.failed"]
        assert receiver.received[0].message["data"]["content_id"] == content.content_id

    async def test_a_failure_that_is_retried_is_no_end(self, hooks: Hooks, receiver: Receiver, made: Maker) -> None:
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        for auto_retry in (True, False):
            request = task_pb.SubmitTaskRequest(account_id=made.account, topic="a topic", auto_retry=auto_retry)
            task_id = (await made.tasks.SubmitTask(request)).task.task_id
            (lease,) = await made.worker.take()
            await made.worker.start(lease)
            await made.worker.fail(lease)
            await made.worker.heartbeat(0)
        await hooks.until(hook.webhook_id, DELIVERED)
        data = receiver.received[0].message["data"]
        assert (data["task_id"], data["status"], data["reason"]) == (task_id, "failed", "CREATOR_ERROR")

    async def test_only_what_is_wanted_of_whom_is_told(
        self, hooks: Hooks, receiver: Receiver, made: Maker, account: int
    ) -> None:
        own = (await hooks.create(receiver.url, "content.approved", account_id=account)).webhook
        await hooks.create(receiver.url, "content.rejected")
        await made()
        await hooks.until(own.webhook_id, DELIVERED)
        assert receiver.types == ["content.approved"]

    async def test_an_event_is_stored_only_with_its_move(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        task_id = await end_a_task(tasks, account)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE"):
            await tasks.CancelTask(task_pb.CancelTaskRequest(task_id=task_id))
        await hooks.until(hook.webhook_id, DELIVERED)

    @pytest.mark.usefixtures("replica")
    async def test_a_replica_that_could_not_read_the_webhooks_ends_no_task_without_its_event(
        self, hooks: Hooks, receiver: Receiver, account: int, db_url: str
    ) -> None:
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        async with AsyncExitStack() as stack:
            with locked_table(db_url, "webhooks"):
                starting = serving_beside(db_url, lock_timeout=0.1, webhook_allow="127.0.0.0/8")
                late = await stack.enter_async_context(starting)
                channel = await stack.enter_async_context(aio.insecure_channel(f"127.0.0.1:{late.port}"))
                tasks = TaskServiceStub(channel)
                submitted = await tasks.SubmitTask(task_pb.SubmitTaskRequest(account_id=account, topic="a topic"))
                request = task_pb.CancelTaskRequest(task_id=submitted.task.task_id)
                with refused(StatusCode.UNAVAILABLE, "LOCK_TIMEOUT"):
                    await tasks.CancelTask(request)
            await tasks.CancelTask(request)
            await hooks.until(hook.webhook_id, DELIVERED)


class TestRetries:
    async def test_a_receiver_that_fails_gets_it_again_within_ten_seconds_by_the_same_id(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        receiver.answer = status(500, "no\x00 disk")
        created = await hooks.create(receiver.url, "task.ended")
        await end_a_task(tasks, account)
        failed = await hooks.tried(created.webhook.webhook_id)
        assert (failed.status, failed.last_status_code, failed.last_error) == (PENDING, 500, "HTTP 500: no disk")
        assert 0 < failed.next_attempt_time.ToNanoseconds() - failed.create_time.ToNanoseconds() < 10e9
        assert (await hooks.get(created.webhook.webhook_id)).last_error == "HTTP 500: no disk"
        receiver.answer = status(200)
        hooks.pass_time(10)
        await hooks.until(created.webhook.webhook_id, DELIVERED)
        first, second = receiver.received
        assert first.message_id == second.message_id
        assert first.body.split('"data"')[1] == second.body.split('"data"')[1]
        second.verify(created.secret)
        assert (await hooks.get(created.webhook.webhook_id)).last_error == ""

    async def test_after_three_days_it_is_exhausted_and_can_be_sent_again(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        receiver.answer = status(503)
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        await end_a_task(tasks, account)
        await hooks.tried(hook.webhook_id)
        hooks.pass_time(3 * 86_400)
        (exhausted,) = await hooks.until(hook.webhook_id, EXHAUSTED)
        assert not exhausted.HasField("next_attempt_time")
        receiver.answer = status(200)
        request = pb.RedeliverWebhookRequest(delivery_id=exhausted.delivery_id)
        again = (await hooks.stub.RedeliverWebhook(request)).delivery
        assert (again.status, again.message_id) == (PENDING, exhausted.message_id)
        (delivered,) = await hooks.until(hook.webhook_id, DELIVERED)
        assert delivered.attempt_count == 1
        assert {received.message_id for received in receiver.received} == {exhausted.message_id}

    async def test_a_receiver_that_is_down_gets_it_once_it_is_up(
        self, hooks: Hooks, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        async with receiving() as down:
            port = down.port
        hook = (await hooks.create(f"http://127.0.0.1:{port}/", "task.ended")).webhook
        await end_a_task(tasks, account)
        failed = await hooks.tried(hook.webhook_id)
        assert (failed.last_status_code, failed.last_error[:13]) == (0, "can't connect")
        async with receiving(port) as up:
            hooks.pass_time(10)
            await hooks.until(hook.webhook_id, DELIVERED)
            assert up.types == ["task.ended"]

    async def test_a_receiver_that_is_gone_deactivates_its_webhook(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        receiver.answer = status(410)
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        await end_a_task(tasks, account)
        (gone,) = await hooks.until(hook.webhook_id, EXHAUSTED)
        now = await hooks.get(hook.webhook_id)
        assert (now.active, now.last_error, gone.last_status_code) == (False, "HTTP 410", 410)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await hooks.stub.RedeliverWebhook(pb.RedeliverWebhookRequest(delivery_id=gone.delivery_id))
        assert refusal.metadata == {"current_state": "inactive", "required_state": "active"}
        await end_a_task(tasks, account)
        assert len(await hooks.deliveries(hook.webhook_id)) == 1

    async def test_a_redirect_is_not_followed(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        receiver.answer = status(307, location=f"{receiver.url}/elsewhere")
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        await end_a_task(tasks, account)
        failed = await hooks.tried(hook.webhook_id)
        assert (failed.status, failed.last_status_code) == (PENDING, 307)
        assert failed.last_error == "HTTP 307: redirects are not followed"
        assert [received.path for received in receiver.received] == ["/hook"]

    async def test_a_receiver_that_hangs_delays_nobody_else_and_counts_as_a_failure(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        async with receiving() as slow:
            slow.answer = slow.hang
            hanging = (await hooks.create(slow.url, "task.ended")).webhook
            quick = (await hooks.create(receiver.url, "task.ended")).webhook
            for _ in range(6):
                await end_a_task(tasks, account)
            await hooks.until(quick.webhook_id, *[DELIVERED] * 6)
            assert len(slow.received) == 4, "of one webhook no more are tried at a time before one succeeds"
            assert {delivery.status for delivery in await hooks.deliveries(hanging.webhook_id)} == {PENDING}

            first = (await hooks.which(hanging.webhook_id, lambda delivery: bool(delivery.last_error)))[0]
            assert first.last_error == "no answer within 10 s"

    async def test_a_receiver_that_succeeds_gets_more_at_a_time(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        async with receiving() as steady:
            hook = (await hooks.create(steady.url, "task.ended")).webhook
            witness = (await hooks.create(receiver.url, "task.ended")).webhook
            for _ in range(2):
                await end_a_task(tasks, account)
            await hooks.until(hook.webhook_id, *[DELIVERED] * 2)
            steady.answer = steady.hang
            for _ in range(20):
                await end_a_task(tasks, account)
            await steady.take(2 + MAX_CONCURRENT_TRIES)
            await hooks.until(witness.webhook_id, *[DELIVERED] * 22)
            assert len(steady.received) == 2 + MAX_CONCURRENT_TRIES
            steady.hanging.set()
            await hooks.until(hook.webhook_id, *[DELIVERED] * 22)

    async def test_slow_receivers_of_other_accounts_take_no_place_from_an_account(
        self, db_url: str, engine: sa.Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhook_tries, "MAX_TRIES", 16)
        monkeypatch.setattr(sender, "TIMEOUT", 100.0)
        monkeypatch.setattr(deliveries, "CLAIM_LEASE", timedelta(seconds=200))
        async with (
            serving(db_url, webhook_allow="127.0.0.0/8") as replica,
            aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel,
            receiving() as slow,
        ):
            slow.answer = slow.hang
            hooks, tasks = Hooks(WebhookServiceStub(channel), engine), TaskServiceStub(channel)
            *greedy, other = [await make_account(channel) for _ in range(3)]
            for account in greedy * 3:
                await hooks.create(slow.url, "task.ended", account_id=account)
            for account in greedy * 4:
                await end_a_task(tasks, account)
            await hooks.create(receiver.url, "task.ended", account_id=other)
            await end_a_task(tasks, other)
            await receiver.take(1)
            slow.hanging.set()

    async def test_later_deliveries_of_a_task_wait_for_the_first(
        self, hooks: Hooks, receiver: Receiver, made: Maker
    ) -> None:
        receiver.answer = status(500)
        hook = (await hooks.create(receiver.url)).webhook
        await made()

        (first,) = await hooks.which(hook.webhook_id, lambda delivery: bool(delivery.last_error))
        (later,) = await hooks.which(
            hook.webhook_id,
            lambda delivery: delivery.delivery_id > first.delivery_id and delivery.next_attempt_time.seconds > 0,
        )
        assert later.attempt_count == 0
        assert receiver.types == ["content.approved"]
        receiver.answer = status(200)
        hooks.pass_time(10)
        await hooks.until(hook.webhook_id, DELIVERED, DELIVERED)
        assert receiver.types == ["content.approved", "content.approved", "task.ended"]


class TestSecrets:
    async def test_both_secrets_are_valid_for_a_while(
        self, hooks: Hooks, receiver: Receiver, engine: sa.Engine
    ) -> None:
        created = await hooks.create(receiver.url)
        webhook_id = created.webhook.webhook_id
        rotated = await hooks.stub.RotateWebhookSecret(
            pb.RotateWebhookSecretRequest(webhook_id=webhook_id, overlap=Duration(seconds=60))
        )
        assert rotated.webhook.HasField("previous_secret_expire_time")
        assert rotated.secret != created.secret
        await hooks.stub.PingWebhook(pb.PingWebhookRequest(webhook_id=webhook_id))
        receiver.received[0].verify(created.secret)
        receiver.received[0].verify(rotated.secret)
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE webhooks SET previous_secret_expire_time = now()"))
        await hooks.stub.PingWebhook(pb.PingWebhookRequest(webhook_id=webhook_id))
        receiver.received[1].verify(rotated.secret)
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            receiver.received[1].verify(created.secret)
        assert not (await hooks.get(webhook_id)).HasField("previous_secret_expire_time")


class TestPing:
    async def test_a_ping_is_sent_at_once_also_for_an_inactive_webhook(self, hooks: Hooks, receiver: Receiver) -> None:
        hook = (await hooks.create(receiver.url)).webhook
        hook.active = False
        await hooks.stub.UpdateWebhook(pb.UpdateWebhookRequest(webhook=hook, update_mask=FieldMask(paths=["active"])))
        request = pb.PingWebhookRequest(webhook_id=hook.webhook_id)
        delivery = (await hooks.stub.PingWebhook(request)).delivery
        assert (delivery.status, delivery.event_type, delivery.last_status_code) == (DELIVERED, "webhook.ping", 204)
        assert receiver.received[0].message["data"] == {"webhook_id": hook.webhook_id}
        assert await hooks.deliveries(hook.webhook_id) == [delivery]

    async def test_a_ping_that_fails_is_not_repeated(self, hooks: Hooks, receiver: Receiver) -> None:
        receiver.answer = status(500)
        hook = (await hooks.create(receiver.url)).webhook
        request = pb.PingWebhookRequest(webhook_id=hook.webhook_id)
        delivery = (await hooks.stub.PingWebhook(request)).delivery
        assert (delivery.status, delivery.last_error, delivery.attempt_count) == (EXHAUSTED, "HTTP 500", 1)


class TestManagement:
    async def test_a_webhook_is_read_and_listed_without_its_secret(self, hooks: Hooks, receiver: Receiver) -> None:
        created = await hooks.create(receiver.url, "task.ended", "content.approved")
        assert created.secret.startswith("whsec_")
        assert created.webhook.active
        assert list(created.webhook.event_types) == ["task.ended", "content.approved"]
        assert await hooks.get(created.webhook.webhook_id) == created.webhook
        listed = await hooks.stub.ListWebhooks(pb.ListWebhooksRequest())
        assert list(listed.webhooks) == [created.webhook]
        assert created.secret not in str(listed)

    async def test_what_the_mask_names_is_changed(self, hooks: Hooks, receiver: Receiver) -> None:
        hook = (await hooks.create(receiver.url)).webhook
        wanted = pb.Webhook(webhook_id=hook.webhook_id, url=f"{receiver.url}/new", event_types=["publish.failed"])
        mask = FieldMask(paths=["url", "event_types"])
        changed = (await hooks.stub.UpdateWebhook(pb.UpdateWebhookRequest(webhook=wanted, update_mask=mask))).webhook
        assert (changed.url, list(changed.event_types), changed.active) == (wanted.url, ["publish.failed"], True)
        assert await hooks.get(hook.webhook_id) == changed

    async def test_an_inactive_webhook_gets_nothing_until_it_is_active(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        for active in (False, True):
            hook.active = active
            request = pb.UpdateWebhookRequest(webhook=hook, update_mask=FieldMask(paths=["active"]))
            await hooks.stub.UpdateWebhook(request)
            await end_a_task(tasks, account)
        await hooks.until(hook.webhook_id, DELIVERED)

    async def test_a_deleted_webhook_is_gone_with_its_deliveries(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        receiver.answer = status(500)
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        await end_a_task(tasks, account)
        failed = await hooks.tried(hook.webhook_id)
        await hooks.stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=hook.webhook_id))
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
            await hooks.get(hook.webhook_id)
        assert refusal.metadata == {"resource_type": "webhook", "resource_id": str(hook.webhook_id)}
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await hooks.deliveries(hook.webhook_id)
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
            await hooks.stub.RedeliverWebhook(pb.RedeliverWebhookRequest(delivery_id=failed.delivery_id))
        assert refusal.metadata["resource_type"] == "delivery"
        await end_a_task(tasks, account)
        assert len(receiver.received) == 1

    async def test_an_account_has_a_limited_number(self, hooks: Hooks, receiver: Receiver, account: int) -> None:
        created = [await hooks.create(receiver.url, account_id=account) for _ in range(MAX_WEBHOOKS)]
        with refused(StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WEBHOOKS"):
            await hooks.create(receiver.url, account_id=account)
        await hooks.create(receiver.url)
        await hooks.stub.DeleteWebhook(pb.DeleteWebhookRequest(webhook_id=created[0].webhook.webhook_id))
        await hooks.create(receiver.url, account_id=account)

    async def test_an_unknown_account_is_not_found(self, hooks: Hooks, receiver: Receiver) -> None:
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND") as refusal:
            await hooks.create(receiver.url, account_id=99)
        assert refusal.metadata == {"resource_type": "account", "resource_id": "99"}

    async def test_deliveries_are_listed_by_status_in_pages(
        self, hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
    ) -> None:
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        for _ in range(3):
            await end_a_task(tasks, account)
        whole = await hooks.until(hook.webhook_id, DELIVERED, DELIVERED, DELIVERED)
        first = await hooks.stub.ListDeliveries(pb.ListDeliveriesRequest(webhook_id=hook.webhook_id, page_size=2))
        rest = await hooks.stub.ListDeliveries(
            pb.ListDeliveriesRequest(webhook_id=hook.webhook_id, page_size=2, page_token=first.next_page_token)
        )
        assert [*first.deliveries, *rest.deliveries] == whole
        assert not rest.next_page_token
        assert await hooks.deliveries(hook.webhook_id, status=DELIVERED) == whole
        assert await hooks.deliveries(hook.webhook_id, status=EXHAUSTED) == []


class TestAddresses:
    @pytest.mark.parametrize(
        "url",
        [
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://0.0.0.0/",
            "http://192.0.2.1/",
            "http://8.8.8.8/",
            "ftp://8.8.8.8/",
            "https://user:password@8.8.8.8/",
            "https://8.8.8.8/#part",
            "https://8.8.8.8:99999/",
            "https:///path",
            "https://8.8.8.8/with space",
            "",
        ],
    )
    async def test_an_address_that_is_refused_is_a_bad_field(self, hooks: Hooks, url: str) -> None:
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await hooks.create(url)
        assert refusal.fields == ["url"]

    @pytest.mark.parametrize("url", ["https://8.8.8.8/", "https://[2606:4700::1111]/", "https://no-such.invalid/"])
    async def test_a_public_address_and_a_name_that_does_not_resolve_are_accepted(self, hooks: Hooks, url: str) -> None:
        assert (await hooks.create(url)).webhook.url == url

    async def test_an_address_is_checked_again_when_connecting(
        self, hooks: Hooks, receiver: Receiver, engine: sa.Engine
    ) -> None:
        """The webhook's host leads elsewhere than when it was created."""
        webhook_id = (await hooks.create(receiver.url)).webhook.webhook_id
        for url in (
            f"http://[::ffff:10.0.0.1]:{receiver.port}/",
            "https://192.168.0.1/",
            "https://2130706433.invalid/",
        ):
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE webhooks SET url = :url"), {"url": url})
            delivery = (await hooks.stub.PingWebhook(pb.PingWebhookRequest(webhook_id=webhook_id))).delivery
            assert (delivery.status, delivery.last_status_code) == (EXHAUSTED, 0)
            assert "CONTENTGEN_WEBHOOK_ALLOW" in delivery.last_error or "does not resolve" in delivery.last_error
        assert receiver.received == []

    async def test_every_bad_field_is_named(self, hooks: Hooks) -> None:
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await hooks.create("x" * 2_001, "task.started", "webhook.ping", account_id=-1)
        assert refusal.fields == ["account_id", "url", "event_types[0]", "event_types[1]"]
        with refused(StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT") as refusal:
            await hooks.stub.CreateWebhook(pb.CreateWebhookRequest(url="https://8.8.8.8/"))
        assert refusal.fields == ["event_types"]


async def test_without_webhooks_no_event_is_stored(
    hooks: Hooks, made: Maker, receiver: Receiver, engine: sa.Engine
) -> None:
    await made()
    await hooks.create(receiver.url)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM webhook_deliveries")) == 0


async def test_a_hundred_events_arrive_once_each(
    hooks: Hooks, receiver: Receiver, tasks: TaskServiceAsyncStub, account: int
) -> None:
    hook = (await hooks.create(receiver.url, "task.ended")).webhook
    ended: list[str] = []
    for _ in range(4):  # not all at once: a call that a slow machine does not get to within 10 s is refused
        ended += await asyncio.gather(*(end_a_task(tasks, account) for _ in range(25)))
    await receiver.take(100)
    await hooks.until_none_waits(hook.webhook_id)
    assert sorted(received.message["data"]["task_id"] for received in receiver.received) == sorted(ended)
    assert len({received.message_id for received in receiver.received}) == 100
