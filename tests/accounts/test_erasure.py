"""An erased account leaves nothing: searched for in every table, in each column, and in the store of files."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio
from structlog.testing import capture_logs

from contentgen.v1 import worker_service_pb2 as worker_pb
from scheduler_svc.holdings.tables import tables
from scheduler_svc.replica.replica import Replica
from scheduler_svc.schema.relations import relations
from tests.api.world import World
from tests.harness.client import not_found, refused
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.contract

OF_NOBODY = {
    "asset_store",
    "assets",  # a file is its bytes; `account_assets` and `content_assets` say whose it is
    "count_floor",
    "deployment",
    "ready_floors",
    "reaper",
    "replicas",
    "revoked_tokens",
    "schema_compatibility",
    "search_index",
    "backups",
    "import_sources",
    "maintenance",
    "workers",
}
"""The tables without a row of an account."""
_WEBHOOKS = "SELECT webhook_id FROM webhooks WHERE account_id = :own OR account_ids = CAST(ARRAY[:own] AS bigint[])"
KEYS = {
    "task_key": "SELECT task_key FROM tasks WHERE account_id = :own",
    "content_id": "SELECT content_id FROM contents WHERE account_id = :own",
    "webhook_id": _WEBHOOKS,
    "channel_id": _WEBHOOKS,
}
"""The columns that name something, and the query of what is an account's."""
FOLDED = {"count_deltas", "rollup_deltas", "task_counts", "task_rollups"}
"""Tables whose rows a loop adds up meanwhile."""
SECRET = "unmistakable"
"""In each text of the account."""


@pytest.fixture
def replica_settings(tmp_path: Path) -> dict[str, Any]:
    return {"assets": tmp_path / "assets", "webhook_allow": "127.0.0.1", "console_url": "http://localhost"}


def test_each_table_has_rows_of_accounts_or_is_known_to_have_none() -> None:
    assert relations().columns.keys() - {table.name for table in tables()} == OF_NOBODY


async def furnish(world: World, neighbour: str) -> None:
    """Makes one of everything: tasks in each state, contents, files, schedules, webhooks, and what they hold."""
    account_id = world.account_id
    await world.call("UpdateAccount", account={"account_id": account_id, "name": SECRET}, update_mask="name")
    brief = {"topic": SECRET, "labels": {"label": SECRET}, "unique_key": SECRET}
    url, events = f"https://127.0.0.1:1/{SECRET}", ["task.ended", "content.approved"]
    await world.call("CreateWebhook", account_id=account_id, url=url, event_types=events)
    await world.call("CreateWebhook", url="https://127.0.0.1:1/", event_types=events)
    for accounts in ([account_id], [account_id, neighbour], []):
        channel = {"url": "json://127.0.0.1:1/", "event_types": ["task.failed"], "account_ids": accounts}
        await world.call("CreateChannel", channel=channel)
    await world.scheduled(**brief)
    await world.failed(topic=SECRET, request_id=SECRET)
    await world.logged(topic=SECRET)
    await world.published()
    await world.pictured()
    await world.held()
    commented = await world.edited()
    await world.call("AddComment", content_id=commented["content_id"], text=SECRET)
    await world.call("AssignReview", content_id=commented["content_id"], assignee=SECRET)
    schedule = await world.schedule(name=SECRET, template={"topic": SECRET})
    await world.call("RunSchedule", schedule_id=schedule["schedule_id"])
    await world.call(
        "UpdateAccount",
        account={"account_id": account_id, "max_starts_per_minute": 9},
        update_mask="maxStartsPerMinute",
    )


async def erased(world: World, account_id: int) -> None:
    while not (await world.call("EraseAccount", account_id=account_id)).get("done"):
        pass


class Search:
    """Looks for an account in every column of every table, but for the audit of its erasure."""

    def __init__(self, connection: sa.Connection, account_id: int, secret: str | None = None) -> None:
        """`secret`: a text that only rows of the account have."""
        self._connection = connection
        self._account_id = account_id
        self._secret = secret
        self._keys = {
            column: set(connection.scalars(sa.text(query), {"own": account_id})) for column, query in KEYS.items()
        }

    def rows(self) -> Counter[str]:
        """Returns how many rows of each table it finds."""
        return Counter(
            name
            for name in relations().columns
            for row in self._connection.execute(sa.text(f"SELECT * FROM {name}")).mappings()
            if self._is_own(row)
        )

    def _is_own(self, row: Mapping[Any, Any]) -> bool:
        if row.get("method") == "AccountService/EraseAccount":
            return False
        accounts = {row.get("account_id"), (row.get("data") or {}).get("account_id"), *(row.get("account_ids") or ())}
        texts = f"'account:{self._account_id}'", self._secret
        return (
            self._account_id in accounts
            or any(row.get(column) in keys for column, keys in self._keys.items())
            or any(text in repr(dict(row)) for text in texts if text)
        )


@pytest.fixture
def logs() -> Iterator[Sequence[object]]:
    with capture_logs() as logs:
        yield logs


async def test_nothing_is_left_of_an_erased_account(
    replica: Replica, channel: aio.Channel, engine: sa.Engine, tmp_path: Path, logs: Sequence[object]
) -> None:
    async with World(channel) as world, World(channel) as neighbour:
        own, other = int(world.account_id), int(neighbour.account_id)
        await furnish(world, neighbour.account_id)
        await world.lease((await world.processing(topic=SECRET))["task_id"])
        shared = await neighbour.pictured()
        await world.call("PauseDispatch", account_id=own)
        await world.submit(topic=SECRET, worker_selector={"creator": SECRET})
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            search, spared = Search(connection, own, SECRET), Search(connection, other)
            before, kept = search.rows(), spared.rows()
            unfilled = {table.name for table in tables()} - before.keys()
            assert unfilled <= {"imported", "cleaned_events", "task_counts", "task_rollups"}, "it has one of everything"
            counts = (await world.call("EraseAccount", account_id=own, dry_run=True))["counts"]
            still = search.rows()
            for name in ("accounts", "tasks", "request_ids", "contents", "account_assets", "schedules", "ready"):
                assert int(counts[name]) == before[name] == still[name], name
            erasing = asyncio.create_task(erased(world, own))
            revoked = sa.text("SELECT EXISTS (SELECT FROM leases WHERE account_id = :own AND revoked)")
            await wait_until_async(
                lambda: connection.scalar(revoked, {"own": own}), within=30, what="its attempt is cancelled"
            )
            for held in list(world.worker.held.values()):
                assert await world.worker.complete(held) == worker_pb.UPDATE_OUTCOME_LEASE_LOST
            await erasing
            assert search.rows() == {}
            found = spared.rows()
            assert [name for name in kept.keys() - FOLDED if found[name] < kept[name]] == []
    assert {path.name for path in (tmp_path / "assets/objects").glob("*/*")} == {shared["sha256"]}
    with not_found("account", own):
        await world.call("EraseAccount", account_id=own)
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await world.call("SubmitTask", account_id=own, topic="a topic")
    assert "an account is erased" in repr(logs)
    assert SECRET not in repr(logs)
