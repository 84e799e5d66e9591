"""What a replica tells Prometheus, compared with what was done; its probes; and what a scrape does not wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from grpc import StatusCode, aio

from contentgen.certificates import earliest_expiry
from contentgen.service.values import Address
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.webhook_service_pb2_grpc import WebhookServiceStub
from contentgen.version import own_version
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.health import Reason
from scheduler_svc.system import loop
from tests.harness.client import refused
from tests.harness.credentials import Caller, line, write
from tests.harness.maker import Maker, TaskClient
from tests.harness.processes import free_port
from tests.harness.receivers import DELIVERED, Hooks, receiving
from tests.harness.replicas import channel_to, serving
from tests.harness.scheduling import sql
from tests.harness.scrape import Scrape, get
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.waiting import PATIENCE_S, wait_until_async
from verification.generated.metrics import DOCUMENT

pytestmark = pytest.mark.contract

ANY_PORT = Address("127.0.0.1", 0)
OF_TASKS = {"grpc_type": "unary", "grpc_service": "contentgen.v1.TaskService"}


@pytest.fixture
def replica_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(loop, "FIGURES_INTERVAL", 0.1)
    metrics = {"metrics_listen": ANY_PORT, "metrics_accounts": "1,7"}
    return {"assets": tmp_path / "assets", "webhook_allow": "127.0.0.0/8", **metrics}


@pytest.fixture
def hooks(channel: aio.Channel, engine: sa.Engine) -> Hooks:
    return Hooks(WebhookServiceStub(channel), engine)


async def test_the_figures_are_those_of_what_was_done(
    replica: Replica, client: TaskClient, worker: ScriptedWorker
) -> None:
    began = time.monotonic()
    for priority in (5, 5, 7):
        await client.submit(priority=priority)
    with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
        await client.get("task-0000000000000001")
    first, second, third = await worker.take(3)
    for lease in (first, second, third):
        await worker.start(lease)
    await worker.complete(first)
    await worker.complete(second)
    await worker.fail(third)

    scraped = await _sampled(
        replica,
        lambda scrape: (
            [scrape("contentgen_tasks", status=status) for status in ("completed", "pending")] == [2, 1]
            and scrape("contentgen_lease_streams") == 1
        ),
    )
    assert scraped("contentgen_build_info", service="scheduler", version=own_version()) == 1
    assert scraped("contentgen_serving") == 1
    assert scraped("contentgen_lease_streams") == 1
    assert scraped("grpc_server_started_total", **OF_TASKS, grpc_method="SubmitTask") == 3
    assert scraped("grpc_server_handled_total", **OF_TASKS, grpc_method="SubmitTask", grpc_code="OK") == 3
    assert scraped("grpc_server_handled_total", **OF_TASKS, grpc_method="GetTask", grpc_code="NOT_FOUND") == 1
    assert scraped("grpc_server_handling_seconds_count", **OF_TASKS, grpc_method="SubmitTask") == 3
    lease_stream = {"grpc_type": "bidi_stream", "grpc_service": "contentgen.v1.WorkerService", "grpc_method": "Lease"}
    assert scraped("grpc_server_started_total", **lease_stream) == 1
    assert scraped("grpc_server_handled_total", **lease_stream, grpc_code="OK") == 0

    assert scraped("contentgen_task_moves_total", source="none", target="pending") == 3
    assert scraped("contentgen_task_moves_total", source="pending", target="submitted") == 3
    assert scraped("contentgen_task_moves_total", source="submitted", target="processing") == 3
    assert scraped("contentgen_attempts_total", reason="COMPLETED") == 2
    assert scraped("contentgen_attempts_total", reason="CREATOR_ERROR") == 1
    assert scraped("contentgen_task_retries_total", kind="auto") == 1
    assert scraped("contentgen_task_seconds_count", status="completed") == 2
    assert scraped("contentgen_task_seconds_count", status="failed") == 0
    assert scraped("contentgen_task_queue_seconds_count", priority="5") == 2
    assert scraped("contentgen_task_queue_seconds_count", priority="7") == 1
    assert 0 < scraped("contentgen_task_queue_seconds_sum", priority="7") < time.monotonic() - began

    assert scraped("contentgen_ready_tasks") == 0
    assert scraped("contentgen_oldest_pending_seconds") > 0
    assert sum(scraped("contentgen_leases", stage=stage) for stage in ("queued", "accepted", "processing")) == 0

    assert scraped("contentgen_lane_group_items_sum", lane="submits") == 3
    assert scraped("contentgen_lane_group_items_sum", lane="claims") == 3
    assert scraped("contentgen_lane_group_items_count", lane="reports") > 0
    assert scraped("contentgen_transactions_total", pool="submits", outcome="committed") == 3
    assert scraped("contentgen_statements_total", pool="submits") >= 3
    assert scraped("contentgen_transactions_total", pool="reads", outcome="refused") == 1
    assert scraped("contentgen_pool_connections", pool="reads") == 4
    assert scraped("contentgen_event_loop_lag_seconds_count") > 0
    assert scraped("process_resident_memory_bytes") > 1_000_000


async def test_the_queue_is_shown_by_priority_and_leases_by_stage(
    replica: Replica, client: TaskClient, worker: ScriptedWorker
) -> None:
    for priority in (5, 5, 7, 7, 7):
        await client.submit(priority=priority)
    first, second = await worker.take(2)  # of priority 7
    await worker.report(first, accepted=worker_pb.Accepted())
    await worker.start(second)
    await worker.take(1)

    scraped = await _sampled(
        replica,
        lambda scrape: (  # read first, and last of those below
            scrape("contentgen_ready_tasks") == 2
            and [scrape("contentgen_leases", stage=stage) for stage in ("queued", "accepted", "processing")]
            == [1, 1, 1]
        ),
    )
    assert scraped("contentgen_leases", stage="revoked") == 0
    assert [scraped("contentgen_queue_tasks", priority=str(priority)) for priority in (5, 6, 7)] == [2, 0, 0]
    assert scraped("contentgen_queue_oldest_seconds", priority="5") > 0
    assert scraped("contentgen_queue_oldest_seconds", priority="7") == 0


async def test_uploads_are_counted_once(replica: Replica, client: TaskClient, worker: ScriptedWorker) -> None:
    await client.submit()
    (lease,) = await worker.take()
    assert not await worker.upload(lease, b"a picture")
    assert await worker.upload(lease, b"a picture")
    scraped = Scrape(replica.metrics_port)
    assert scraped("contentgen_assets_stored_total") == 1
    assert scraped("contentgen_asset_bytes_total") == len(b"a picture")


async def _sampled(replica: Replica, wanted: Callable[[Scrape], bool]) -> Scrape:
    """A scrape once a sample is as it is wanted."""

    def scraped() -> Scrape | None:
        scrape = Scrape(replica.metrics_port)
        return scrape if wanted(scrape) else None

    result = await wait_until_async(scraped, within=PATIENCE_S, what="the sample shows it")
    assert result is not None
    return result


async def test_every_metric_is_in_the_document(replica: Replica) -> None:
    documented = DOCUMENT.read_text()
    families = Scrape(replica.metrics_port).families.values()
    names = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in families
        if family.type != "unknown"
    }
    assert sorted(name for name in names if f"`{name}`" not in documented) == []


async def test_probes_say_why(replica: Replica) -> None:
    assert get(replica.metrics_port, "/livez") == (200, "ok\n")
    assert get(replica.metrics_port, "/readyz") == (200, "ok\n")
    replica.health.set(Reason.STORE_AWAY)
    assert get(replica.metrics_port, "/readyz") == (503, "the database is away\n")
    assert get(replica.metrics_port, "/livez") == (200, "ok\n")
    replica.health.set(Reason.STORE_AWAY, False)


async def test_a_frozen_event_loop_is_neither_live_nor_ready(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentgen.service.metrics.FROZEN_LIMIT", -1.0)
    for path in ("/livez", "/readyz"):
        status, reason = get(replica.metrics_port, path)
        assert (status, reason.rpartition(" for ")[0]) == (503, "the event loop has not run")


async def test_refused_tokens_are_counted_by_reason(db_url: str, tmp_path: Path) -> None:
    tokens = write(tmp_path / "tokens", line("reader", "viewer", [1]))
    async with serving(db_url, tokens_file=tokens, metrics_listen=ANY_PORT) as replica:
        async with channel_to(replica) as channel:
            for _ in range(2):
                with refused(StatusCode.UNAUTHENTICATED, "TOKEN_INVALID"):
                    await Caller(channel, "wrong")("TaskService/GetTaskStats")
            with refused(StatusCode.PERMISSION_DENIED, "ROLE_FORBIDDEN"):
                await Caller(channel, "reader-token")("TaskService/HandleTimeouts")
            with refused(StatusCode.PERMISSION_DENIED, "ACCOUNT_FORBIDDEN"):
                await Caller(channel, "reader-token")("SystemService/GetSystem")
        scraped = Scrape(replica.metrics_port)
        assert scraped("contentgen_refused_calls_total", reason="TOKEN_INVALID") == 2
        assert scraped("contentgen_refused_calls_total", reason="ROLE_FORBIDDEN") == 1
        assert scraped("contentgen_refused_calls_total", reason="ACCOUNT_FORBIDDEN") == 1


async def test_the_expiry_of_a_certificate_is_told(db_url: str, certificates: Path) -> None:
    files = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"}
    end = earliest_expiry(files["tls_cert"].read_bytes())
    assert end is not None
    async with serving(db_url, **files, metrics_listen=ANY_PORT) as replica:
        name = "contentgen_certificate_expiry_timestamp_seconds"
        scraped = await _sampled(replica, lambda scrape: scrape(name, setting="CONTENTGEN_TLS_CERT") > 0)
        assert scraped(name, setting="CONTENTGEN_TLS_CERT") == end.timestamp()


async def test_tries_to_deliver_to_webhooks_are_counted(replica: Replica, client: TaskClient, hooks: Hooks) -> None:
    async with receiving() as receiver:
        hook = (await hooks.create(receiver.url, "task.ended")).webhook
        await client.cancel((await client.submit()).task_id)
        await hooks.until(hook.webhook_id, DELIVERED)
    scraped = Scrape(replica.metrics_port)
    assert scraped("contentgen_webhook_tries_total", outcome="delivered") == 1
    assert scraped("contentgen_task_seconds_count", status="cancelled") == 1


async def test_what_waits_besides_tasks_is_shown(
    replica: Replica, channel: aio.Channel, maker: Maker, hooks: Hooks, engine: sa.Engine
) -> None:
    scraped = await _sampled(replica, lambda scrape: scrape("contentgen_publish_pool_entries", state="pending") == 0)
    assert scraped("contentgen_oldest_pending_delivery_seconds") == 0
    assert scraped("contentgen_schedule_lateness_seconds") == 0
    assert scraped("contentgen_backup_last_success_timestamp_seconds") == 0
    sql(engine, "UPDATE backups SET success_time = to_timestamp(1800000000.5)")
    began = time.monotonic()
    await hooks.create(f"http://127.0.0.1:{free_port()}", "task.ended")
    for _ in range(4):
        await maker()
    claimed = await maker.claim(limit=3)
    for entry in claimed[:2]:
        await maker.report(entry, error="no page")
    no_more = "UPDATE publish_pool SET next_attempt_time = NULL WHERE content_id = :id"
    sql(engine, no_more, id=claimed[0].content_id)
    yearly = {"account_id": maker.account, "cron": "0 0 1 1 *", "template": {"topic": "a topic"}}
    for paused in (False, True):
        await Caller(channel)("ScheduleService/CreateSchedule", **yearly, paused=paused)

    scraped = await _sampled(replica, lambda scrape: scrape("contentgen_schedules") == 1)
    states = ("pending", "publishing", "retrying", "failed")
    assert [scraped("contentgen_publish_pool_entries", state=state) for state in states] == [1, 1, 1, 1]
    assert scraped("contentgen_webhook_deliveries", status="pending") == 4
    assert scraped("contentgen_webhook_deliveries", status="exhausted") == 0
    assert 0 < scraped("contentgen_oldest_pending_delivery_seconds") < time.monotonic() - began
    assert scraped("contentgen_backup_last_success_timestamp_seconds") == 1800000000.5
    assert scraped("contentgen_schedule_lateness_seconds") == 0


async def test_accounts_are_told_of_only_if_they_are_named(
    replica: Replica, channel: aio.Channel, client: TaskClient
) -> None:
    other = (await Caller(channel)("AccountService/CreateAccount", name="another"))["account"]["account_id"]
    for account_id in (client.account, other):
        await Caller(channel)("TaskService/SubmitTask", account_id=account_id, topic="a topic")
    scraped = await _sampled(replica, lambda scrape: scrape("contentgen_account_ready_tasks", account_id="1") == 1)
    assert scraped("contentgen_account_tasks", account_id="1", status="pending") == 1
    samples = scraped.families["contentgen_account_tasks"].samples
    assert {sample.labels["account_id"] for sample in samples} == {"1"}, "the other is not named, 7 does not exist"


async def test_without_the_setting_nothing_listens(db_url: str) -> None:
    async with serving(db_url) as replica:
        assert replica.metrics_port == 0
        async with channel_to(replica) as channel:
            assert "queue_depth" not in await Caller(channel)("TaskService/GetTaskStats")
