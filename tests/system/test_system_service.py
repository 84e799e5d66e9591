"""SystemService: each replica shows all replicas, and sessions that hold locks; who a caller is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio
from structlog.testing import capture_logs

from contentgen.client import ContentGenerationClient
from contentgen.rpcs import METHODS
from contentgen.v1 import system_service_pb2 as pb
from contentgen.version import own_version
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime import database_watch
from scheduler_svc.system import maintenance, work
from tests.api.cases import Bad, Good, missing
from tests.harness.client import refused
from tests.harness.credentials import Caller, line, write
from tests.harness.database_faults import APPLICATION, foreign_lock, locked_rows
from tests.harness.maker import TaskClient, new_account
from tests.harness.replicas import MAX_QUEUE_SIZE, channel_to, serving, serving_all, serving_beside
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stubs import SystemServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = pytest.mark.contract

LANES = ["audit", "claims", "hellos", "reports", "submits"]


@pytest.fixture
async def replicas(db_url: str, request: pytest.FixtureRequest) -> AsyncIterator[list[Replica]]:
    """Two, or as many as a test says, with its settings."""
    count, settings = getattr(request, "param", (2, {}))
    async with serving_all(db_url, count, lock_timeout=0.2, **settings) as replicas:
        yield replicas


@pytest.fixture
def replica(replicas: list[Replica]) -> Replica:
    """The first of them, which `channel` leads to."""
    return replicas[0]


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is held for a second counts as held for long; no transaction of the scheduler lasts as long."""
    monkeypatch.setattr(work, "LONG_LOCK_LIMIT", 1.0)


async def test_get_system_lists_all_replicas_until_they_end(
    replicas: list[Replica], system: SystemServiceAsyncStub
) -> None:
    first, second = replicas
    for replica in replicas:
        await replica._system_status.run_once()
    answer = await system.GetSystem(pb.GetSystemRequest())
    assert [entry.scheduler_id for entry in answer.replicas] == sorted([first.scheduler_id, second.scheduler_id])
    for shown in answer.replicas:
        assert (shown.version, shown.serving) == (own_version(), True)
        assert (shown.settings["CONTENTGEN_LEASE_TTL"], shown.settings["CONTENTGEN_RETENTION"]) == ("120 s", "")
        assert shown.clock_offset.ToTimedelta().total_seconds() == 0
        assert [lane.name for lane in shown.lanes] == LANES
    assert answer.version == own_version()
    assert answer.database.size > 1_000_000
    assert int(answer.database.version.split(".")[0]) >= 15
    assert not answer.lock_holders
    await second.stop()
    answer = await system.GetSystem(pb.GetSystemRequest())
    assert [entry.scheduler_id for entry in answer.replicas] == [first.scheduler_id]


async def test_the_client_returns_the_system_and_a_caller_without_token_as_dicts(replica: Replica, target: str) -> None:
    with ContentGenerationClient(target) as client:
        answer, caller = await asyncio.to_thread(lambda: (client.get_system(), client.get_caller()))
    (shown,) = [entry for entry in answer["replicas"] if entry["scheduler_id"] == replica.scheduler_id]
    assert (shown["version"], shown["serving"], list(shown["lanes"])) == (own_version(), True, LANES)
    assert shown["lanes"]["submits"] == {"oldest_age": 0.0, "waiting": 0, "set_aside": 0}
    assert (answer["version"], answer["lock_holders"]) == (own_version(), [])
    assert answer["database"]["size"] > 1_000_000
    assert answer["limits"] == {
        "max_queue_size": MAX_QUEUE_SIZE,
        "lease_ttl": 120.0,
        "heartbeat_interval": 10.0,
        "max_worker_losses": 5,
        "max_deferrals": 100,
        "lock_timeout": 0.2,
        "statement_timeout": 10.0,
        "retention": None,
        "content_retention": None,
        "max_calls": 1_000,
        "max_wait_calls": 2_000,
        "max_watch_streams": 2_000,
        "max_lease_streams": 5_000,
    }
    assert caller == {
        "name": "",
        "role": "operator",
        "account_ids": [],
        "methods": sorted(METHODS),
        "token_required": False,
    }


async def test_get_system_shows_lock_waits_and_holders(
    db_url: str, replicas: list[Replica], client: TaskClient
) -> None:
    """Also those of another replica."""
    first, second = replicas
    async with channel_to(second) as other:
        stub = SystemServiceAsyncStub(other)
        await client.submit()
        with locked_rows(db_url, "shares") as pid:
            waiting = asyncio.create_task(client.submit())
            await wait_until_async(
                lambda: first._submits.state().set_aside, within=PATIENCE_S, what="the submit is set aside"
            )
            await first._system_status.run_once()
            async with asyncio.timeout(PATIENCE_S):  # it waits for the lock a moment at a time, when it is tried again
                while not (answer := await stub.GetSystem(pb.GetSystemRequest())).lock_holders:
                    pass
        await waiting
    told_by_other = {entry.scheduler_id: {lane.name: lane for lane in entry.lanes} for entry in answer.replicas}
    submits = told_by_other[first.scheduler_id]["submits"]
    assert (submits.waiting, submits.set_aside) == (1, 1)
    assert submits.oldest_age.ToTimedelta().total_seconds() > 0
    (holder,) = answer.lock_holders
    assert (holder.pid, holder.application, holder.relation) == (pid, APPLICATION, "shares")
    assert (holder.state, holder.waited_for) == ("idle in transaction", True)


@pytest.mark.usefixtures("short_limit")
async def test_get_system_shows_long_held_rows_without_waits(
    db_url: str, system: SystemServiceAsyncStub, worker: ScriptedWorker
) -> None:
    """A worker whose row is locked is skipped, so nothing waits for the lock."""

    async def holders() -> list[pb.LockHolder]:
        return list((await system.GetSystem(pb.GetSystemRequest())).lock_holders)

    with locked_rows(db_url, "workers") as pid:
        await worker.heartbeat(1)
        async with asyncio.timeout(PATIENCE_S):
            while not (lock_holders := await holders()):
                pass
        (holder,) = lock_holders
        assert (holder.pid, holder.relation, holder.waited_for) == (pid, "workers", False)
    assert not await holders()


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("replicas", [(1, {"lease_ttl": 6.0})], ids=["of a short lease time"], indirect=True)
async def test_a_stranger_who_holds_the_lock_of_dispatch_is_named(
    db_url: str, replica: Replica, system: SystemServiceAsyncStub, client: TaskClient, worker: ScriptedWorker
) -> None:
    """A claim only tries that lock, so no session waits for it."""
    pause = "SELECT pg_advisory_lock(hashtext('contentgen.pause_dispatch'))"
    with foreign_lock(db_url, pause) as pid, capture_logs() as logs:
        await client.submit()

        async def locked_out() -> bool:
            await worker.heartbeat(1)  # its session outlives the waits
            return not replica.health.serving and any(entry.get("pid") == pid for entry in logs)

        await wait_until_async(locked_out, within=PATIENCE_S, what="the replica does not serve, and logs why")

        async def named() -> Sequence[pb.LockHolder]:
            await worker.heartbeat(1)
            answer = await system.GetSystem(pb.GetSystemRequest())
            set_aside = {lane.name: lane.set_aside for lane in answer.replicas[0].lanes}["claims"]
            return answer.lock_holders if set_aside == 1 else []  # 0 while it is tried again

        (holder,) = await wait_until_async(named, within=PATIENCE_S, what="the claim is set aside, for the holder")
    assert (holder.pid, holder.relation, holder.waited_for) == (pid, "contentgen.pause_dispatch", True)
    await worker.send_heartbeat(1)
    await worker.assigned()  # perhaps before the acknowledgement
    await wait_until_async(lambda: replica.health.serving, within=PATIENCE_S, what="the replica serves again")


async def test_what_stops_a_replica_without_a_word_is_shown_and_logged(
    db_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock, a transaction that somebody holds open, a lock that a fold only tries."""
    monkeypatch.setattr(database_watch, "PATIENCE", 0.0)
    monkeypatch.setattr(database_watch, "CHECK_INTERVAL", 3_600.0)
    by = 3_600.0
    folds = "SELECT txid_current(), pg_advisory_lock(hashtext('contentgen.fold_counts'))"
    async with serving(db_url) as replica, channel_to(replica) as channel:
        stub = SystemServiceAsyncStub(channel)
        with foreign_lock(db_url, folds) as pid, capture_logs() as logs:
            replica._clock._own = lambda: time.time() + by
            for _ in range(2):
                await replica._database_watch.run_once()
            assert replica.health.reasons == ["its clock is wrong"]
            answer = await stub.GetSystem(pb.GetSystemRequest())
            assert replica._database_watch.oldest_age > 0
            (holder,) = [candidate for candidate in replica._database_watch.lock_holders if candidate.pid == pid]
        by = -4.0
        await replica._database_watch.run_once()
        assert replica.health.serving
    oldest = answer.oldest_transaction
    assert (oldest.pid, oldest.application, oldest.state) == (pid, APPLICATION, "idle in transaction")
    assert oldest.age.ToTimedelta() >= oldest.seen_for.ToTimedelta() > timedelta(0)
    assert (holder.pid, holder.relation) == (pid, "contentgen.fold_counts")
    (shown,) = answer.replicas
    assert (shown.serving, shown.clock_offset.ToTimedelta() // timedelta(minutes=1)) == (False, 59)
    actions = [entry["action"] for entry in logs if entry.get("action") == "clock" or entry.get("pid") == pid]
    assert sorted(actions) == ["clock", "lock", "transaction"], "each once"


# Tokens that are revoked are void for all schedulers, though the file still has them.


TOKENS = [
    line("op", "operator"),
    line("anna", "reviewer", [2, 1]),
    line("anna", "reviewer", [1, 2], token="anna-again"),
    line("console", "operator", delegates=True),
    line("worker", "worker"),
]


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write(tmp_path / "tokens", *TOKENS)


async def test_a_revoked_token_is_void_for_all_schedulers_and_after_a_restart(db_url: str, tokens: Path) -> None:
    async with AsyncExitStack() as stack:
        replicas = await stack.enter_async_context(serving_all(db_url, 2, tokens_file=tokens))
        operator, *anna = [
            Caller(await stack.enter_async_context(channel_to(replica)), f"{name}-token")
            for name, replica in (("op", replicas[0]), ("anna", replicas[0]), ("anna", replicas[1]))
        ]
        await operator("AccountService/CreateAccount", name="one")
        watching: Any = anna[1]._channel.unary_stream("/contentgen.v1.TaskService/WatchTasks")
        watch = watching(b"", metadata=anna[1]._metadata)
        ended = asyncio.ensure_future(watch.read())
        listed = await operator("SystemService/ListTokens")
        assert [token["name"] for token in listed["tokens"]] == ["anna", "console", "op", "worker"]
        assert listed["tokens"][0] == {
            "name": "anna",
            "role": "reviewer",
            "account_ids": ["1", "2"],
            "valid_count": 2,
        }
        assert listed["tokens"][1] == {"name": "console", "role": "operator", "delegates": True, "valid_count": 1}
        page = await operator("SystemService/ListTokens", page_size=3)
        rest = await operator("SystemService/ListTokens", page_size=3, page_token=page["next_page_token"])
        assert [*page["tokens"], *rest["tokens"]] == listed["tokens"]
        revoked = (await operator("SystemService/RevokeToken", name="anna"))["token"]
        assert (revoked.get("valid_count", 0), revoked["revoked_by"]) == (0, "op")
        assert await anna[0].refused(StatusCode.UNAUTHENTICATED)
        with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
            await ended
        assert await anna[1].refused(StatusCode.UNAUTHENTICATED)
        assert (await operator("SystemService/RevokeToken", name="anna"))["token"] == revoked, "the first time counts"
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await operator("SystemService/RevokeToken", name="boris")
        write(tokens, *TOKENS, line("anna", "reviewer", [1, 2], token="new"))
        for replica in replicas:
            replica.reload_files()
        newcomer = Caller(anna[0]._channel, "new")

        async def known() -> bool:
            return not await newcomer.refused(StatusCode.UNAUTHENTICATED)

        await wait_until_async(known, within=PATIENCE_S, what="a new token of this name is valid")
        assert await anna[0].refused(StatusCode.UNAUTHENTICATED)
        events = (await operator("AuditService/ListAuditEvents", method="SystemService/RevokeToken"))["events"]
        assert [event["resource"] for event in events if event["outcome"] == "OK"] == ["token:anna"] * 2
        async with serving_beside(db_url, tokens_file=tokens) as new, channel_to(new) as channel:
            assert await Caller(channel, "anna-again").refused(StatusCode.UNAUTHENTICATED)


async def test_maintenance_refuses_submits_at_every_scheduler_and_suspends_schedules_while_all_else_goes_on(
    db_url: str, replicas: list[Replica], channel: aio.Channel, engine: sa.Engine
) -> None:
    async with AsyncExitStack() as stack:
        first, second = [Caller(await stack.enter_async_context(channel_to(replica))) for replica in replicas]
        account = await new_account(channel)
        task = (await first("TaskService/SubmitTask", account_id=account, topic="before"))["task"]
        schedule = await first(
            "ScheduleService/CreateSchedule",
            account_id=account,
            name="each minute",
            cron="* * * * *",
            template={"topic": "by a schedule"},
        )
        end = datetime.now(UTC) + timedelta(hours=1)
        answer = await first("SystemService/SetMaintenance", until_time=end.isoformat(), reason="new disks")
        assert answer["maintenance"]["reason"] == "new disks"

        async def told() -> bool:
            return "maintenance" in await second("WorkerPoolService/GetDispatchStatus")

        await wait_until_async(told, within=PATIENCE_S, what="the other scheduler knows")
        for caller in first, second:
            assert (await caller("SystemService/GetSystem"))["maintenance"] == answer["maintenance"]
            requests: dict[str, dict[str, Any]] = {
                "TaskService/SubmitTask": {"account_id": account, "topic": "refused"},
                "TaskService/BatchSubmitTasks": {"requests": [{"account_id": account, "topic": "refused"}]},
                "ScheduleService/RunSchedule": {"schedule_id": schedule["schedule"]["schedule_id"]},
                "ContentService/RegenerateContent": {"content_id": 1},
            }
            for method, request in requests.items():
                with refused(StatusCode.UNAVAILABLE, "MAINTENANCE") as error:
                    await caller(method, **request)
                assert error.retry_after == maintenance.MAX_RETRY_AFTER
        cancelled = await second("TaskService/CancelTask", task_id=task["task_id"])
        assert cancelled["task"]["status"] == "TASK_STATUS_CANCELLED"
        with engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE schedules SET next_tick = date_trunc('minute', now()), due_time = now()")
            )
        for replica in replicas:
            replica._router.schedules.wake()
        async with serving_beside(db_url) as third, channel_to(third) as newer:
            with refused(StatusCode.UNAVAILABLE, "MAINTENANCE"):
                await Caller(newer)("TaskService/SubmitTask", account_id=account, topic="refused")
        off = datetime.now(UTC)
        assert "maintenance" not in await second("SystemService/SetMaintenance")
        await second("TaskService/SubmitTask", account_id=account, topic="after")

        async def ticked() -> bool:
            tasks = (await second("TaskService/ListTasks"))["tasks"]
            made = [datetime.fromisoformat(it["create_time"]) for it in tasks if it["topic"] == "by a schedule"]
            assert all(time >= off for time in made), "the tick waited"
            return bool(made)

        await wait_until_async(ticked, within=PATIENCE_S, what="the tick follows")


async def test_maintenance_ends_by_itself(replica: Replica, channel: aio.Channel) -> None:
    caller, account = Caller(channel), await new_account(channel)
    end = datetime.now(UTC) + timedelta(seconds=1)
    await caller("SystemService/SetMaintenance", until_time=end.isoformat())

    async def taken() -> bool:
        try:
            await caller("TaskService/SubmitTask", account_id=account, topic="again")
        except aio.AioRpcError:
            return False
        return True

    await wait_until_async(taken, within=PATIENCE_S, what="submits are taken")
    assert datetime.now(UTC) >= end - timedelta(milliseconds=100)


# What tests/api calls: requests that are answered, and those that are refused.
GOOD = [
    Good(
        "GetSystem",
        {},
        {
            "version": str,
            "replicas": lambda replicas: (
                {"scheduler_id", "version", "start_time", "serving", "lanes"} <= replicas[0].keys()
            ),
            "lock_holders": list,
            "database": {"version": str, "size": str},
            "limits": {"max_queue_size": str, "lease_ttl": str, "max_calls": 1_000},
        },
        sometimes="oldest_transaction",  # of any session of the server
    ),
    Good(
        "GetCaller",
        {},
        {
            "name": "",
            "role": "operator",
            "account_ids": [],
            "methods": lambda methods: (
                methods == sorted(methods) and {"TaskService/SubmitTask", "WorkerService/Lease"} < set(methods)
            ),
            "token_required": False,
        },
    ),
    Good("ListTokens", {}, {"tokens": [], "next_page_token": ""}),
    Good("SetMaintenance", {}, {}),
]
BAD = [
    Bad("ListTokens", {"page_size": -1, "page_token": "nonsense"}, fields=("page_size", "page_token")),
    Bad("RevokeToken", {}, fields=("name",)),
    Bad("RevokeToken", {"name": "n" * 201}, fields=("name",)),
    missing("RevokeToken", {"name": "nobody"}, "token", "nobody"),
    Bad("SetMaintenance", {"until_time": "2026-01-01T00:00:00Z", "reason": "n" * 201}, fields=("until_time", "reason")),
    Bad("SetMaintenance", {"until_time": "9000-01-01T00:00:00Z"}, fields=("until_time",)),
    Bad("SetMaintenance", {"reason": "new disks"}, fields=("reason",)),
]
