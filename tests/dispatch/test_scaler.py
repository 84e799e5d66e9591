"""ExternalScaler as KEDA calls it, on real replicas: the same from each, and never zero while the database is away."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode, aio
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from contentgen.keda import externalscaler_pb2 as pb
from contentgen.keda.externalscaler_pb2_grpc import ExternalScalerStub
from contentgen.service.settings import SettingsError
from contentgen.service.values import Address
from contentgen.v1 import account_service_pb2 as account_pb
from contentgen.v1 import worker_pool_service_pb2 as pool_pb
from scheduler_svc.postgres import EmbeddedPostgres
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.access import Limits
from tests.harness import http2
from tests.harness.client import bad_fields, refused
from tests.harness.credentials import make_signed, shown_on
from tests.harness.database_faults import away
from tests.harness.maker import batch, new_account
from tests.harness.replicas import channel_to, serving, serving_all, serving_beside
from tests.harness.scripted_worker import ScriptedWorker, hello
from tests.harness.stubs import AccountServiceAsyncStub, TaskServiceAsyncStub, WorkerPoolServiceAsyncStub
from tests.harness.waiting import PATIENCE_S, wait_until_async

pytestmark = pytest.mark.contract

SCALER = "externalscaler.ExternalScaler"
LOOPBACK = Address("127.0.0.1", 0)
KEDAS_OWN = {"scalerAddress": "schedulers:50052", "enableTLS": "true", "unsafeSsl": "false", "metricType": "Value"}


class Keda:
    """What KEDA asks a scaler, for one trigger."""

    def __init__(self, channel: aio.Channel, **metadata: str) -> None:
        self.stub = ExternalScalerStub(channel)
        self.ref = pb.ScaledObjectRef(name="workers", namespace="contentgen", scalerMetadata=KEDAS_OWN | metadata)

    async def target(self) -> tuple[str, int]:
        (spec,) = (await self.stub.GetMetricSpec(self.ref)).metricSpecs
        assert spec.targetSizeFloat == spec.targetSize
        return spec.metricName, spec.targetSize

    async def value(self) -> int:
        """The metric, and that the trigger is active if there is any."""
        request = pb.GetMetricsRequest(scaledObjectRef=self.ref, metricName=(await self.target())[0])
        (value,) = (await self.stub.GetMetrics(request)).metricValues
        assert value.metricName == request.metricName
        assert value.metricValueFloat == value.metricValue
        return value.metricValue

    async def active(self) -> bool:
        return (await self.stub.IsActive(self.ref)).result

    async def becomes(self, wanted: int) -> None:
        """Waits for the value: what is read is up to a second old."""

        async def reached() -> bool:
            return await self.value() == wanted

        await wait_until_async(reached, within=PATIENCE_S, what=f"the value is {wanted}", every=0.05)
        assert await self.active() == (wanted > 0)


async def activity(stream: Any) -> bool:
    """What a stream of StreamIsActive says next."""
    async with asyncio.timeout(PATIENCE_S):
        response: pb.IsActiveResponse = await stream.read()
    return response.result


@asynccontextmanager
async def keda(replica: Replica, **metadata: str) -> AsyncIterator[Keda]:
    async with aio.insecure_channel(f"127.0.0.1:{replica.scaler_port}") as channel:
        yield Keda(channel, **metadata)


@pytest.fixture
def replica_settings(tmp_path: Path) -> dict[str, Any]:
    return {"assets": tmp_path / "assets", "scaler_listen": LOOPBACK}


@pytest.fixture
async def scaler(replica: Replica) -> AsyncIterator[Keda]:
    async with keda(replica) as scaler:
        yield scaler


async def test_every_replica_says_what_may_run_and_what_runs(db_url: str) -> None:
    async with (
        serving_all(db_url, 2, scaler_listen=LOOPBACK) as (one, other),
        channel_to(one) as channel,
        keda(one) as first,
        keda(other) as second,
    ):
        account = await new_account(channel)
        for client in (first, second):
            await client.becomes(0)
        await batch(TaskServiceAsyncStub(channel), account, 3)
        async with ScriptedWorker(channel) as worker:
            (lease,) = await worker.take()
            for client in (first, second):
                await client.becomes(3)
            await worker.complete(lease)
            for client in (first, second):
                await client.becomes(2)


async def test_what_may_not_run_now_does_not_count(channel: aio.Channel, scaler: Keda, replica: Replica) -> None:
    limited = await new_account(channel, max_concurrent_tasks=2)
    metered = await new_account(channel, max_starts_per_minute=3)
    for account in (limited, metered):
        await batch(TaskServiceAsyncStub(channel), account, 5)
    await scaler.becomes(5)
    pool = WorkerPoolServiceAsyncStub(channel)
    await pool.PauseDispatch(pool_pb.PauseDispatchRequest(account_id=limited))
    await scaler.becomes(3)
    async with keda(replica, accountId=str(limited)) as of_limited, keda(replica, account_id="0") as of_all:
        await of_limited.becomes(0)
        await pool.ResumeDispatch(pool_pb.ResumeDispatchRequest(account_id=limited))
        await of_limited.becomes(2)
        await of_all.becomes(5)
        await pool.PauseDispatch(pool_pb.PauseDispatchRequest())
        for client in (scaler, of_limited, of_all):
            await client.becomes(0)


async def test_a_trigger_counts_the_tasks_of_one_worker_selector(channel: aio.Channel, replica: Replica) -> None:
    account, limited = await new_account(channel), await new_account(channel, max_concurrent_tasks=2)
    tasks = TaskServiceAsyncStub(channel)
    await batch(tasks, account, 3)
    await batch(tasks, account, 4, worker_selector={"creator": "video"})
    await batch(tasks, limited, 5, worker_selector={"creator": "video", "region": "eu"})
    triggers = {"": 3, "creator=video": 4, " region=eu, creator=video": 2, "creator=text": 0}
    for selector, demand in triggers.items():
        async with keda(replica, workerSelector=selector) as scaler:
            await scaler.becomes(demand)
    async with keda(replica) as scaler, ScriptedWorker(channel, hello(labels={"creator": "video"})) as worker:
        assert await scaler.value() == 9, "no more than may run"
        await worker.take()
        async with keda(replica, worker_selector="creator=video", accountId=str(account)) as of_account:
            await of_account.becomes(4)


async def test_the_target_is_in_the_metadata(replica: Replica) -> None:
    for metadata, target in (
        ({}, 3),
        ({"targetPerWorker": "8"}, 8),
        ({"target_per_worker": " 1 "}, 1),
        ({"accountId": "99"}, 3),
    ):
        async with keda(replica, **metadata) as scaler:
            assert await scaler.target() == ("contentgen-tasks", target)
            with refused(StatusCode.UNIMPLEMENTED):  # it does not change
                await scaler.stub.StreamMetricSpec(scaler.ref).read()


async def test_wrong_metadata_another_metric_and_an_unknown_account_are_refused(replica: Replica) -> None:
    for key, text, problem in (
        ("targetPerWorker", "0", "must be a whole number from 1 to 1,000, is '0'"),
        ("targetPerWorker", "2.5", "must be a whole number"),
        ("targetPerWorker", "", "must be a whole number"),
        ("accountId", "-1", "must be a whole number from 0"),
        ("accountId", "9" * 19, "must be a whole number from 0"),
        ("accountID", "seven", "is 'seven'"),
        ("targetPerWoker", "3", "is unknown: did you mean targetPerWorker?"),
        ("targetValue", "3", "is unknown: did you mean targetPerWorker?"),
        ("account", "3", "is unknown: did you mean accountId?"),
        ("workerSelector", "creator", "must be labels separated by commas, such as creator=video, or empty, is"),
        ("workerSelectors", "", "is unknown: did you mean workerSelector?"),
    ):
        async with keda(replica, **{key: text}) as scaler:
            request = pb.GetMetricsRequest(scaledObjectRef=scaler.ref)
            for call, prefix in (
                (scaler.stub.IsActive(scaler.ref), ""),
                (scaler.stub.GetMetricSpec(scaler.ref), ""),
                (scaler.stub.GetMetrics(request), "scaledObjectRef."),
                (scaler.stub.StreamIsActive(scaler.ref).read(), ""),
            ):
                with bad_fields(f'{prefix}scalerMetadata["{key}"]') as refusal:
                    await call
                assert problem in refusal.message
    async with keda(replica, accountId="99") as of_nobody:
        with bad_fields("metricName"):
            await of_nobody.stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=of_nobody.ref, metricName="queue"))
        with refused(StatusCode.NOT_FOUND, "RESOURCE_NOT_FOUND"):
            await of_nobody.value()


async def test_a_database_that_is_away_is_an_error_and_not_zero(
    cluster: EmbeddedPostgres, db_url: str, channel: aio.Channel, scaler: Keda, account: int
) -> None:
    await batch(TaskServiceAsyncStub(channel), account, 2)
    assert await scaler.value() == 2, "what was submitted counts before the first answer"
    stream = scaler.stub.StreamIsActive(scaler.ref)
    assert await activity(stream) is True
    answers: list[object] = []

    async def ask() -> None:
        while True:
            try:
                answers.append((await scaler.active(), await scaler.value()))
            except aio.AioRpcError as error:
                answers.append(error.code())

    asking = asyncio.create_task(ask())
    with away(cluster, db_url):
        with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
            await activity(stream)
        for call in (scaler.active, scaler.value):
            with refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE"):
                await call()
        assert (await scaler.target())[1] == 3, "this needs no database"
    count = len(answers)
    await wait_until_async(lambda: (True, 2) in answers[count:], within=PATIENCE_S, what="the scaler answers again")
    asking.cancel()
    assert set(answers) <= {(True, 2), StatusCode.UNAVAILABLE}, "no answer says zero"


async def test_a_stream_tells_each_change_and_ends_with_its_replica(
    channel: aio.Channel, replica: Replica, scaler: Keda, account: int
) -> None:
    stream = scaler.stub.StreamIsActive(scaler.ref)

    assert await activity(stream) is False
    await batch(TaskServiceAsyncStub(channel), account, 1)
    assert await activity(stream) is True
    async with ScriptedWorker(channel) as worker:
        (lease,) = await worker.take()
        await worker.complete(lease)
    assert await activity(stream) is False
    await replica.drain(within=0)
    with refused(StatusCode.UNAVAILABLE, "SHUTTING_DOWN"):
        await activity(stream)


async def test_a_caller_that_leaves_takes_nothing_from_the_others(scaler: Keda) -> None:
    calls = [asyncio.create_task(scaler.active()) for _ in range(20)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    assert await asyncio.gather(*calls[1::2]) == [False] * 10


async def test_its_address_has_no_other_service_and_no_other_address_has_it(
    replica: Replica, channel: aio.Channel, scaler: Keda
) -> None:
    with refused(StatusCode.UNIMPLEMENTED):
        await Keda(channel).active()
    async with aio.insecure_channel(f"127.0.0.1:{replica.scaler_port}") as own:
        with refused(StatusCode.UNIMPLEMENTED):
            await AccountServiceAsyncStub(own).ListAccounts(account_pb.ListAccountsRequest())
        health: Any = HealthStub(own)
        answer = await health.Check(HealthCheckRequest(service=SCALER))
        assert answer.status == HealthCheckResponse.SERVING


async def test_those_who_stall_their_calls_take_it_from_nobody_else(db_url: str) -> None:
    limits = Limits(probes=2, open_message_timeout=3.0)
    async with (
        serving(db_url, scaler_listen=LOOPBACK, limits=limits) as replica,
        http2.connected(replica.scaler_port, "127.0.0.2") as greedy,
        keda(replica) as scaler,
    ):
        await greedy.greet()
        stalled = [greedy.begin(f"/{SCALER}/IsActive") for _ in range(limits.probes)]
        refusal = await greedy.first(greedy.call(f"/{SCALER}/IsActive"))
        assert b"this caller has 2 calls in progress" in refusal.payload
        assert await scaler.active() is False
        for stream in stalled:
            assert b"within 3 s" in (await greedy.first(stream)).payload


async def test_an_address_in_use_is_named(db_url: str, replica: Replica) -> None:
    taken = Address("127.0.0.1", replica.scaler_port)
    with pytest.raises(SettingsError, match=rf"CONTENTGEN_SCALER_LISTEN={taken}: Address already in use"):
        async with serving_beside(db_url, scaler_listen=taken):
            pass


async def test_it_is_not_served_unless_its_address_is_set(db_url: str) -> None:
    async with serving(db_url) as replica:
        assert replica.scaler_port == 0


async def test_tls_is_that_of_the_api_and_its_certificates_are_replaced(
    db_url: str, certificates: Path, tmp_path: Path
) -> None:
    shutil.copytree(certificates, tmp_path, dirs_exist_ok=True)
    files = {"tls_cert": tmp_path / "server.pem", "tls_key": tmp_path / "server.key"}
    credentials = grpc.ssl_channel_credentials((tmp_path / "ca.pem").read_bytes())
    async with serving(db_url, scaler_listen=LOOPBACK, **files) as replica:
        with refused(StatusCode.UNAVAILABLE):
            async with keda(replica) as plain:
                await plain.active()

        async def shown() -> list[bytes]:
            return [await asyncio.to_thread(shown_on, port) for port in (replica.port, replica.scaler_port)]

        async with aio.secure_channel(f"127.0.0.1:{replica.scaler_port}", credentials) as channel:
            assert await Keda(channel).value() == 0
        before, same = await shown()
        assert before == same
        make_signed(tmp_path, "server", days=30)
        replica.reload_files()

        async def replaced() -> bool:
            return before not in await shown()

        await wait_until_async(replaced, within=PATIENCE_S, what="both ports show the new certificate")
