"""An account moves as an archive: whole, with its ids, or not at all."""

from __future__ import annotations

import hashlib
import io
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio

from contentgen.v1 import account_service_pb2 as pb
from scheduler_svc.holdings.archive import END, Exported, header, manifest, padding
from scheduler_svc.holdings.tables import movable
from scheduler_svc.replica.replica import Replica
from tests.accounts.test_erasure import SECRET, Search, erased, furnish
from tests.api.cases import OWN, Bad, Good
from tests.api.world import World
from tests.harness.client import bad_fields, not_found, refused
from tests.harness.stubs import AccountServiceAsyncStub
from tests.harness.waiting import wait_until_async

pytestmark = pytest.mark.contract

UNINDEXED = sa.text("SELECT count(*) FROM contents WHERE content_id NOT IN (SELECT content_id FROM content_grams)")
FORGET_LAST = sa.text("""
    DELETE FROM content_grams WHERE content_id = (SELECT max(content_id) FROM contents WHERE account_id = :account_id)
""")
"""As if the account were exported before the search index had its last content."""
WITHIN = 20.0


@pytest.fixture
def replica_settings(tmp_path: Path) -> dict[str, Any]:
    return {"assets": tmp_path / "assets", "webhook_allow": "127.0.0.1", "console_url": "http://localhost"}


def small_archive(account_id: int) -> bytes:
    """The archive of an account without anything, of a version that had fewer columns."""
    columns = ("account_id", "name", "max_concurrent_tasks", "weight", "active")
    row = f'{{"account_id":{account_id},"name":"small","max_concurrent_tasks":0,"weight":2,"active":true}}\n'.encode()
    table = Exported(io.BytesIO(row), columns, 1, len(row), hashlib.sha256(row).hexdigest())
    described = manifest(account_id, 7, "0.1.0", {"accounts": table})
    return described + header("tables/accounts.jsonl", len(row)) + row + padding(len(row)) + END


async def exported(accounts: AccountServiceAsyncStub, account_id: int) -> bytes:
    call = accounts.ExportAccount(pb.ExportAccountRequest(account_id=account_id))
    return b"".join([answer.chunk async for answer in call])


async def imported(accounts: AccountServiceAsyncStub, archive: bytes) -> pb.ImportAccountResponse:
    async def requests() -> AsyncIterator[pb.ImportAccountRequest]:
        for begin in range(0, len(archive), 100_000):
            yield pb.ImportAccountRequest(chunk=archive[begin : begin + 100_000])

    return await accounts.ImportAccount(requests())


def moved_rows(connection: sa.Connection, account_id: int) -> dict[str, Counter[str]]:
    """The rows that an archive has, as JSON, by table; of what waits or is paused, not since when.

    Without those of the history, which the replica folds at any time.
    """
    rows = {}
    for table in movable():
        if table.name in {"rollup_deltas", "task_rollups"}:
            continue
        left_out = {"tag", "ready_time", "touch_time", *(["create_time"] if table.name == "pauses" else [])}
        columns = ", ".join(f'"{column}"' for column in table.columns if column not in left_out)
        query = f"SELECT row_to_json(r)::text FROM (SELECT {columns} FROM {table.name} WHERE {table.condition}) AS r"
        rows[table.name] = Counter(connection.scalars(sa.text(query), {"account_id": account_id}))
    return rows


async def counted(world: World, until: datetime) -> list[Any]:
    """What the account's tasks are, and were in the 24 hours before a time."""
    of_account = {"account_id": int(world.account_id)}
    stats = await world.call("GetTaskStats", **of_account)
    history = await world.call("GetTaskHistory", **of_account, end_time=until.isoformat())
    return [stats["counts"], history["points"]]


async def test_an_account_comes_back_as_it_was_from_its_archive(
    replica: Replica, channel: aio.Channel, accounts: AccountServiceAsyncStub, engine: sa.Engine, tmp_path: Path
) -> None:
    async with World(channel) as world, World(channel) as neighbour:
        own = int(world.account_id)
        await furnish(world, neighbour.account_id)
        await world.processing(topic=SECRET)
        await world.call("PauseDispatch", account_id=own)
        await world.submit(topic=SECRET)
        with refused(StatusCode.FAILED_PRECONDITION, "INVALID_STATE") as refusal:
            await exported(accounts, own)
        assert refusal.metadata == {"current_state": "running", "required_state": "paused"}
        for held in list(world.worker.held.values()):
            await world.worker.complete(held)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            await wait_until_async(
                lambda: not connection.scalar(UNINDEXED), within=WITHIN, what="the search index has each content"
            )
            in_an_hour = datetime.now(UTC) + timedelta(hours=1)
            before, counts = moved_rows(connection, own), await counted(world, in_an_hour)
            assert connection.execute(FORGET_LAST, {"account_id": own}).rowcount == 1
            archive = await exported(accounts, own)
            with refused(StatusCode.ALREADY_EXISTS, "RESOURCE_EXISTS"):
                await imported(accounts, archive)
            search = Search(connection, own, SECRET)
            await erased(world, own)
            await damaged_archives_leave_nothing(accounts, archive, search, tmp_path / "assets/objects")
            answer = await imported(accounts, archive)
            assert (answer.account.account_id, answer.account.name, answer.account.active) == (own, SECRET, True)
            assert answer.counts["tasks"] == before["tasks"].total()
            after = moved_rows(connection, own)
            assert {name: rows - after[name] for name, rows in before.items() if rows != after[name]} == {}
            assert await counted(world, in_an_hour) == counts
        await world.call("ResumeDispatch", account_id=own)
        lease = (await world.worker.take())[0]
        assert lease.task.topic == SECRET
        await neighbour.submit()
    with not_found("account", 99):
        await exported(accounts, 99)


async def damaged_archives_leave_nothing(
    accounts: AccountServiceAsyncStub, archive: bytes, search: Search, objects: Path
) -> None:
    middle, asset = archive.index(b"tables/tasks.jsonl"), archive.index(b"\x89PNG")
    flipped = [archive[:at] + bytes([archive[at] ^ 1]) + archive[at + 1 :] for at in (600, middle + 600, asset + 20)]
    cut = [archive[:at] for at in (0, 100, middle + 600, asset + 20)]
    other = archive.replace(b'"status":1', b'"status":3')
    for damaged in (*flipped, *cut, other, b"no archive" * 1_000):
        with bad_fields("chunk"):
            await imported(accounts, damaged)
        assert search.rows() == {}
        assert not _files(objects)


def _files(folder: Path) -> list[Path]:
    return list(folder.glob("*/*"))


_ELSEWHERE = (7 << 43) + 1
"""The id of an account of another cell."""
GOOD = [
    Good("ExportAccount", {"account_id": OWN}, {"chunk": str}),
    Good(
        "ImportAccount",
        {"chunk": b64encode(small_archive(_ELSEWHERE)).decode()},
        {
            "account": {"account_id": str(_ELSEWHERE), "name": "small", "weight": 2.0, "active": True},
            "counts": {"accounts": "1"},
        },
    ),
]
BAD = [Bad("ImportAccount", {"chunk": "YQ=="}, fields=("chunk",))]
