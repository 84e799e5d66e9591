"""What people and programs do with an article, by the client's library or by the command; both come to the same."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast

from contentgen import AsyncContentGenerationClient, EventType
from tests.contract.operators.transcript import run

Json = dict[str, Any]


class Desk(Protocol):
    async def create_account(self) -> int: ...

    async def create_webhook(self, url: str, event_types: list[EventType]) -> str:
        """Its secret."""
        ...

    async def create_schedule(self, account_id: int, cron: str, topic: str) -> int:
        """Its contents wait for a review."""
        ...

    async def contents(self, review_status: str) -> list[Json]: ...

    async def edit(self, content_id: int, title: str) -> None: ...

    async def regenerate(self, content_id: int, feedback: str) -> None: ...

    async def approve(self, content_id: int) -> None: ...

    async def reopen(self, content_id: int) -> None: ...

    async def schedule_publication(self, content_id: int, time: str) -> None: ...

    async def claim(self) -> Json | None:
        """An entry of the publish pool."""
        ...

    async def report_failed(self, entry: Json, error: str) -> Json:
        """The entry after it."""
        ...

    async def report_published(self, entry: Json, url: str) -> None: ...

    async def retry_publish(self, content_id: int) -> None: ...

    async def attempts(self, content_id: int) -> list[Json]:
        """To publish it."""
        ...

    async def audit(self) -> list[Json]:
        """Newest first."""
        ...


class ByClient:
    """Each step has a client of its own: one that has met a dead scheduler would wait before it connects again."""

    def __init__(self, target: str) -> None:
        self._target = target

    def _client(self) -> AsyncContentGenerationClient:
        return AsyncContentGenerationClient(self._target)

    async def create_account(self) -> int:
        async with self._client() as client:
            return (await client.create_account("news"))["account_id"]

    async def create_webhook(self, url: str, event_types: list[EventType]) -> str:
        async with self._client() as client:
            return (await client.create_webhook(url, event_types))["secret"]

    async def create_schedule(self, account_id: int, cron: str, topic: str) -> int:
        async with self._client() as client:
            task = {"topic": topic, "auto_approve": False}
            return (await client.create_schedule(account_id, cron, task))["schedule_id"]

    async def contents(self, review_status: str) -> list[Json]:
        async with self._client() as client:
            listed = client.iter_contents(review_status=cast("Any", review_status))
            return [cast("Json", content) async for content in listed]

    async def edit(self, content_id: int, title: str) -> None:
        async with self._client() as client:
            await client.update_content(content_id, title=title)

    async def regenerate(self, content_id: int, feedback: str) -> None:
        async with self._client() as client:
            await client.regenerate_content(content_id, feedback)

    async def approve(self, content_id: int) -> None:
        async with self._client() as client:
            await client.review_content(content_id, approve=True)

    async def reopen(self, content_id: int) -> None:
        async with self._client() as client:
            await client.reopen_content(content_id)

    async def schedule_publication(self, content_id: int, time: str) -> None:
        async with self._client() as client:
            await client.update_publish_pool_entry(content_id, schedule_time=time)

    async def claim(self) -> Json | None:
        async with self._client() as client:
            claimed = await client.claim_publish_pool()
            return cast("Json", claimed[0]) if claimed else None

    async def report_failed(self, entry: Json, error: str) -> Json:
        async with self._client() as client:
            reported = await client.report_published(entry["content_id"], entry["claim_id"], error=error)
            return cast("Json", reported)

    async def report_published(self, entry: Json, url: str) -> None:
        async with self._client() as client:
            await client.report_published(entry["content_id"], entry["claim_id"], url=url)

    async def retry_publish(self, content_id: int) -> None:
        async with self._client() as client:
            await client.retry_publish(content_id)

    async def attempts(self, content_id: int) -> list[Json]:
        async with self._client() as client:
            return [cast("Json", attempt) async for attempt in client.iter_publish_attempts(content_id)]

    async def audit(self) -> list[Json]:
        async with self._client() as client:
            return [cast("Json", event) async for event in client.iter_audit_events()]


class ByCommand:
    """Each step is a run of `contentgen`, in the test's own process."""

    def __init__(self, target: str) -> None:
        self._target = target

    async def create_account(self) -> int:
        return int((await self._run("account", "create", "news"))["account_id"])

    async def create_webhook(self, url: str, event_types: list[EventType]) -> str:
        options = [option for event_type in event_types for option in ("--event", event_type)]
        return str((await self._run("webhook", "create", url, *options))["secret"])

    async def create_schedule(self, account_id: int, cron: str, topic: str) -> int:
        options = ("--account", str(account_id), "--cron", cron, "--no-auto-approve")
        return int((await self._run("schedule", "create", *options, topic))["schedule_id"])

    async def contents(self, review_status: str) -> list[Json]:
        return list(await self._run("content", "list", "--review", review_status))

    async def edit(self, content_id: int, title: str) -> None:
        await self._run("content", "edit", str(content_id), "--title", title)

    async def regenerate(self, content_id: int, feedback: str) -> None:
        await self._run("content", "regenerate", str(content_id), "--feedback", feedback)

    async def approve(self, content_id: int) -> None:
        await self._run("content", "review", str(content_id), "--approve")

    async def reopen(self, content_id: int) -> None:
        await self._run("content", "reopen", str(content_id))

    async def schedule_publication(self, content_id: int, time: str) -> None:
        await self._run("pool", "update", str(content_id), "--schedule-time", time)

    async def claim(self) -> Json | None:
        return next(iter(await self._run("pool", "claim")), None)

    async def report_failed(self, entry: Json, error: str) -> Json:
        options = (str(entry["content_id"]), entry["claim_id"], "--failed", "--error", error)
        return Json(await self._run("pool", "report", *options))

    async def report_published(self, entry: Json, url: str) -> None:
        await self._run("pool", "report", str(entry["content_id"]), entry["claim_id"], "--published", "--url", url)

    async def retry_publish(self, content_id: int) -> None:
        await self._run("pool", "retry", str(content_id))

    async def attempts(self, content_id: int) -> list[Json]:
        return list(await self._run("pool", "attempts", str(content_id)))

    async def audit(self) -> list[Json]:
        return list(await self._run("audit", "list"))

    async def _run(self, *arguments: str) -> Any:
        """What it prints as JSON; a step that fails fails the test, with what it said."""
        with ThreadPoolExecutor(1) as beside:  # the test's event loop, where the webhooks come
            ran = await asyncio.wrap_future(
                beside.submit(run, "--scheduler", self._target, "--output=json", *arguments)
            )
        assert ran.status == 0, f"contentgen {' '.join(arguments)}: {ran.err}"
        return json.loads(ran.out)
