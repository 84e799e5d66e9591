"""Tasks, contents, entries of the pool, accounts and workers in every state, each brought there by real moves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from google.protobuf.duration_pb2 import Duration
from grpc import aio

from contentgen.v1 import worker_service_pb2 as pb
from tests.api.wire import NAMES, identity, request_of, send
from tests.harness.credentials import Caller
from tests.harness.pictures import png, sha256
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.waiting import wait_until_async

FUTURE = "2999-01-01T00:00:00Z"
Fields = Mapping[str, Any]


def _worker(channel: aio.Channel) -> ScriptedWorker:
    return ScriptedWorker(channel, hello(**identity()))


class World:
    """What a test needs, made for it in a new account, with a worker of its own. To be entered.

    `make(what)` makes one thing: what there is, is named by its methods, and comes with the ids that requests name.
    """

    _is_connected = False

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel
        self.worker = _worker(channel)
        self._session = AsyncExitStack()
        self.account_id = ""

    async def __aenter__(self) -> Self:
        self.account_id = (await self.account())["account_id"]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.aclose()

    async def call(self, rpc: str, **fields: Any) -> dict[str, Any]:
        """The answer of an RPC, by its name as `SubmitTask`; without unset fields."""
        return await Caller(self.channel)(NAMES[rpc], **fields)

    async def answer(self, rpc: str, **fields: Any) -> dict[str, Any]:
        """The answer of an RPC, with every field."""
        return await send(self.channel, rpc, request_of(rpc, fields).SerializeToString())

    async def make(self, what: str) -> Fields:
        fields: Fields = await getattr(self, what)()
        return fields

    # accounts and workers

    async def own(self) -> Fields:
        """The account that everything else is made in."""
        return {"account_id": self.account_id}

    async def account(self) -> Fields:
        account: Fields = (await self.call("CreateAccount", name="an account"))["account"]
        return account

    async def inactive(self) -> Fields:
        """A deactivated account."""
        account = await self.account()
        await self.call("DeactivateAccount", account_id=account["account_id"])
        return account

    async def connected(self) -> Fields:
        """The worker, which is there from now on."""
        if not self._is_connected:
            await self._session.enter_async_context(self.worker)
            self._is_connected = True
        return {"worker_id": self.worker.hello.worker_id}

    async def lease(self, task_id: str) -> pb.AssignedLease:
        """The worker's lease of a task; until it has that one it takes others, and keeps them."""
        await self.connected()
        while True:
            for lease in self.worker.held.values():
                if lease.task.task_id == task_id:
                    return lease
            await self.worker.take()

    async def answer_poll(self) -> None:
        """Waits for a poll of the worker, and answers that nothing has changed."""
        await self.worker.polled()
        await self.worker.heartbeat(0)

    async def draining(self) -> Fields:
        """The worker that is there, told to take nothing new."""
        worker = await self.connected()
        await self.call("DrainWorker", **worker)
        return worker

    async def disconnected(self) -> Fields:
        """A worker that was there."""
        async with _worker(self.channel) as gone:
            return {"worker_id": gone.hello.worker_id}

    # tasks

    async def submit(self, **fields: Any) -> Fields:
        request = {"account_id": self.account_id, "topic": "a topic", **fields}
        task: Fields = (await self.call("SubmitTask", **request))["task"]
        return task

    pending = submit

    async def _moved(
        self, making: Awaitable[Fields], move: Callable[..., Awaitable[int]], *more: Any, **options: Any
    ) -> Fields:
        """A task that was made, once the worker has moved it."""
        task = await making
        assert await move(await self.lease(task["task_id"]), *more, **options) == pb.UPDATE_OUTCOME_COMMITTED
        return task

    async def _released(self, making: Awaitable[Fields], reason: str, *, started: bool = False) -> Fields:
        released = pb.Released(reason=pb.ReleaseReason.Value(f"RELEASE_REASON_{reason}"), started=started)
        return await self._moved(making, self.worker.report, released=released)

    async def scheduled(self, **fields: Any) -> Fields:
        """Pending, and its time is far away."""
        return await self.submit(schedule_time=FUTURE, **fields)

    async def backoff(self, **fields: Any) -> Fields:
        """Pending, and waits for its automatic retry."""
        return await self._moved(self.processing(**fields), self.worker.fail)

    async def refused(self, **fields: Any) -> Fields:
        """Pending, and waits before it is offered again."""
        return await self._released(self.submitted(**fields), "REFUSED")

    async def deferred(self, **fields: Any) -> Fields:
        """Pending, and waits for as long as its CLI has asked for."""
        deferred = pb.Deferred(retry_after=Duration(seconds=60))
        return await self._moved(self.processing(**fields), self.worker.report, deferred=deferred)

    async def given_back(self, **fields: Any) -> Fields:
        """Pending again, at its place."""
        return await self._released(self.submitted(**fields), "DRAINING")

    async def lost(self, **fields: Any) -> Fields:
        """Pending again, after its CLI was stopped."""
        return await self._released(self.processing(**fields), "EXPIRED", started=True)

    async def submitted(self, **fields: Any) -> Fields:
        task = await self.submit(**fields)
        await self.lease(task["task_id"])
        return task

    async def processing(self, **fields: Any) -> Fields:
        return await self._moved(self.submit(**fields), self.worker.start)

    async def completed(self, **fields: Any) -> Fields:
        return await self._moved(self.processing(**fields), self.worker.complete)

    async def failed(self, **fields: Any) -> Fields:
        """Failed for good, with retries left."""
        return await self._moved(self.processing(auto_retry=False, **fields), self.worker.fail)

    async def logged(self, **fields: Any) -> Fields:
        """Failed for good, and its CLI has printed something."""
        output = pb.RunOutput(stdout="half a page", stderr="it failed", stdout_truncated=True)
        return await self._moved(self.processing(auto_retry=False, **fields), self.worker.fail, output=output)

    async def exhausted(self, **fields: Any) -> Fields:
        """Failed, with no retry left."""
        return await self.failed(max_retries=0, **fields)

    async def timeout(self, **fields: Any) -> Fields:
        """Timed out for good, with retries left."""
        return await self._moved(self.processing(auto_retry=False, **fields), self.worker.fail, "TASK_TIMEOUT")

    async def cancelled(self, **fields: Any) -> Fields:
        task = await self.submit(**fields)
        await self.call("CancelTask", task_id=task["task_id"])
        return task

    async def cancelled_by_force(self, **fields: Any) -> Fields:
        """Cancelled, and its worker has not let go yet."""
        task = await self.processing(**fields)
        await self.call("CancelTask", task_id=task["task_id"], force=True)
        return task

    async def idempotent(self) -> Fields:
        """Pending, under a request_id."""
        return await self.submit(request_id="once")

    # contents and the publish pool

    async def approved(self, **fields: Any) -> Fields:
        """A content that auto_approve let through, and its pending entry."""
        task = await self.completed(**fields)
        done: Fields = (await self.call("GetTask", task_id=task["task_id"]))["task"]
        got = await self.call("GetContent", content_id=done["content_id"])
        return {
            "content_id": done["content_id"],
            "account_id": self.account_id,
            "task_id": task["task_id"],
            "etag": got["content"]["etag"],
        }

    async def edited(self) -> Fields:
        """A content with a second revision, and the etag of its first."""
        original = await self.approved()
        content = {"content_id": original["content_id"], "title": "edited"}
        answer = await self.call("UpdateContent", content=content, update_mask="title")
        return {**original, "stale_etag": original["etag"], "etag": answer["content"]["etag"]}

    async def commented(self) -> Fields:
        """A content with two comments."""
        content = await self.approved()
        for text in ("first", "second"):
            await self.call("AddComment", content_id=content["content_id"], text=text)
        return content

    async def assigned(self) -> Fields:
        """A content that somebody is to review."""
        content = await self.approved()
        await self.call("AssignReview", content_id=content["content_id"], assignee="anna")
        return content

    async def pictured(self) -> Fields:
        """A content with a picture."""
        lease = await self.lease((await self.processing())["task_id"])
        await self.worker.upload(lease, png())
        named = pb.ResultAsset(name="cover.png", sha256=sha256(png()), size=len(png()))
        completed = await self.worker.complete(lease, images=["asset:cover.png"], assets=[named])
        assert completed == pb.UPDATE_OUTCOME_COMMITTED
        done: Fields = (await self.call("GetTask", task_id=lease.task.task_id))["task"]
        content = (await self.call("GetContent", content_id=done["content_id"]))["content"]
        read = {name: content[name] for name in ("content_id", "account_id", "etag")}
        return {**read, "sha256": named.sha256, "size": named.size}

    async def unnamed_asset(self) -> Fields:
        """A picture that no content names."""
        data = png(shade=99)
        await self.worker.upload(await self.lease((await self.processing())["task_id"]), data)
        return {"sha256": sha256(data)}

    async def leased(self) -> Fields:
        """A lease that a result may come of, and its task."""
        task = await self.processing()
        read: Fields = (await self.call("GetTask", task_id=task["task_id"]))["task"]
        return read

    async def lost_lease(self) -> Fields:
        """One that has ended."""
        task = await self.leased()
        completed = await self.worker.complete(await self.lease(task["task_id"]))
        assert completed == pb.UPDATE_OUTCOME_COMMITTED
        return task

    async def unreviewed(self) -> Fields:
        return await self.approved(auto_approve=False)

    async def rejected(self) -> Fields:
        return await self._review("REVIEW_DECISION_REJECT")

    async def held(self) -> Fields:
        """A content whose review somebody holds."""
        content = await self.unreviewed()
        await self.call("ClaimReview", account_id=self.account_id, reviewer="anna")
        return content

    async def approved_by_review(self) -> Fields:
        return await self._review("REVIEW_DECISION_APPROVE")

    async def _review(self, decision: str) -> Fields:
        content = await self.unreviewed()
        await self.call("ReviewContent", content_id=content["content_id"], decision=decision, comment="as it is")
        return content

    async def unclaimed(self) -> Fields:
        """An entry that nobody has claimed, and no claim's id."""
        return {**await self.approved(), "claim_id": "claim-none"}

    async def claimed(self, lease: str = "600s") -> Fields:
        """An entry that a publisher holds."""
        await self.approved()
        answer = await self.call("ClaimPublishPool", account_id=self.account_id, lease=lease)
        (entry,) = answer["entries"]
        return {key: entry[key] for key in ("content_id", "account_id", "claim_id")}

    async def lapsed(self) -> Fields:
        """An entry whose claim expired."""
        entry = await self.claimed(lease="1s")

        async def is_back() -> bool:
            listed = await self.call("ListPublishPool", account_id=self.account_id)
            return bool(listed["entries"][0]["status"] == "PUBLISH_STATUS_PENDING")

        await wait_until_async(is_back, within=10, what="the claim has expired", every=0.1)
        return entry

    async def claimed_anew(self) -> Fields:
        """An entry that another publisher has claimed since; the id of the claim before."""
        entry = await self.lapsed()
        await self.call("ClaimPublishPool", account_id=self.account_id)
        return entry

    async def published(self) -> Fields:
        return await self._report(published=True)

    async def unpublishable(self) -> Fields:
        """An entry whose publisher failed, and that waits for its next attempt."""
        return await self._report(published=False)

    async def _report(self, *, published: bool) -> Fields:
        entry = await self.claimed()
        named = {key: entry[key] for key in ("content_id", "claim_id")}
        await self.call("ReportPublished", published=published, **named)
        return entry

    # schedules

    async def schedule(self, **fields: Any) -> Fields:
        """One that is not paused, and has run nothing."""
        request = {"account_id": self.account_id, "cron": "0 0 1 1 *", "template": {"topic": "a topic"}, **fields}
        schedule: Fields = (await self.call("CreateSchedule", **request))["schedule"]
        return schedule

    async def paused(self) -> Fields:
        """A paused schedule."""
        return await self.schedule(paused=True)

    # webhooks

    async def hook(self) -> Fields:
        """A webhook at an address where nothing listens."""
        request = {"account_id": self.account_id, "url": "https://127.0.0.1:1/hook", "event_types": ["task.ended"]}
        webhook: Fields = (await self.call("CreateWebhook", **request))["webhook"]
        return webhook

    async def pinged(self) -> Fields:
        """An exhausted delivery."""
        hook = await self.hook()
        answer = await self.call("PingWebhook", webhook_id=hook["webhook_id"])
        delivery: Fields = answer["delivery"]
        return delivery

    async def undeliverable(self) -> Fields:
        """An exhausted delivery of an inactive webhook."""
        delivery = await self.pinged()
        inactive = {"webhook_id": delivery["webhook_id"]}
        await self.call("UpdateWebhook", webhook=inactive, update_mask="active")
        return delivery

    # channels

    async def one_channel(self) -> Fields:
        """A channel at an address where nothing listens."""
        request = {"url": "json://127.0.0.1:1/", "event_types": ["task.failed"], "account_ids": [self.account_id]}
        channel: Fields = (await self.call("CreateChannel", channel=request))["channel"]
        return channel

    # pages

    async def workers(self) -> Fields:
        """Sizes of pages that show some, of which one is connected: 0 is the default."""
        await self.connected()
        return {"all": 0, "one": 1}

    async def page_of_tasks(self) -> Fields:
        """The token of the second page of a list of this account's tasks."""
        for _ in range(2):
            await self.submit()
        answer: Fields = await self.call("ListTasks", account_id=self.account_id, page_size=1)
        return answer
