"""What real services say, measure and answer while they work."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import grpc
import psutil
import pytest
from grpc import aio

from contentgen import ContentGenerationClient, RequestError
from contentgen.v1 import task_service_pb2 as pb
from contentgen.v1 import worker_service_pb2 as worker_pb
from contentgen.v1.task_service_pb2_grpc import TaskServiceStub
from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.credentials import line, write
from tests.harness.process import Service, inherited, installed, run_to_end
from tests.harness.scrape import Scrape, get
from tests.harness.scripted_worker import LeaseStream
from tests.harness.stack import EMBEDDED, Scheduler, Stack
from tests.harness.waiting import wait_until
from worker_svc.session.health import MAX_QUICK_FAILURES

pytestmark = pytest.mark.e2e


# What the services say of their environment at start.


SECRET = "zebra"


def test_variables_that_are_probably_mistakes_are_named_at_start(stack: Stack) -> None:
    scheduler = stack.scheduler(database_url=EMBEDDED, CONTENTGEN_LISTN=SECRET).start()
    worker = stack.worker("worker", scheduler, CONTENTGEN_SLOT=SECRET).start()
    assert [event["event"] for event in scheduler.events("settings")] == [
        "DATABASE_URL is empty, which counts as unset: an embedded PostgreSQL is used",
        "CONTENTGEN_LISTN is no setting, and is ignored: did you mean CONTENTGEN_LISTEN?",
    ]
    assert [event["event"] for event in worker.events("settings.notice")] == [
        "CONTENTGEN_SLOT is no setting, and is ignored: did you mean CONTENTGEN_SLOTS?"
    ]
    assert SECRET not in scheduler.tail() + worker.tail()


# The log level of running services, which signals change.


WITHIN = 20.0


def change(service: Service, number: signal.Signals) -> tuple[str, str]:
    """Sends the signal, and returns from which level to which it says that it has changed."""
    before = len(service.events("log_level"))
    service.signal(number)
    wait_until(lambda: len(service.events("log_level")) > before, within=WITHIN, what=f"{service.name} has changed it")
    event = service.events("log_level")[-1]
    return event["former"], event["present"]


def refused(scheduler: Scheduler) -> int:
    """Makes a call that is refused, which is logged at the level debug; returns how many are in the log then."""
    with ContentGenerationClient(scheduler.target, token="a-guess") as client, pytest.raises(RequestError):
        client.list_tasks()
    return len(scheduler.events("auth"))


def test_usr1_sets_debug_and_usr2_sets_the_level_back(stack: Stack) -> None:
    tokens = write(stack.folder / "tokens", line("w", "worker"))
    scheduler = stack.scheduler(database_url=EMBEDDED, CONTENTGEN_TOKENS_FILE=str(tokens)).launch()
    wait_until(lambda: scheduler.events("postgres"), within=WITHIN, what="it starts its database")
    scheduler.signal(signal.SIGUSR1)  # changes nothing yet, and does not end it
    scheduler.wait_for("ready", within=WITHIN)
    worker = stack.worker("worker", scheduler, CONTENTGEN_TOKEN="w-token").start()
    assert refused(scheduler) == 0
    for service in (scheduler, worker):
        assert change(service, signal.SIGUSR1) == ("info", "debug")
    assert refused(scheduler) == 1
    for service in (scheduler, worker):
        assert change(service, signal.SIGUSR2) == ("debug", "info")
    assert refused(scheduler) == 1
    assert worker.alive


# What real processes tell Prometheus while they work, compared with what was done.


LISTEN = "127.0.0.1:0"


def test_the_figures_of_scheduler_and_worker_are_those_of_what_was_done(stack: Stack) -> None:
    """The scheduler's are looked at more closely in test_metrics.py."""
    scheduler = stack.scheduler(lease_ttl=30, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    worker = stack.worker("worker", scheduler, slots=2, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    client = scheduler.client
    account_id = client.create_account()
    done = [client.submit(account_id, options={"demo-seconds": "0.1"}) for _ in range(4)]
    failing = client.submit(account_id, options={"demo-fail": "exit", "demo-seconds": "0.1"}, auto_retry=False)
    for task_id in done:
        client.wait_completed(task_id, within=WITHIN)
    client.wait(failing, within=WITHIN)

    assert Scrape(scheduler.metrics_port)("contentgen_attempts_total", reason="COMPLETED") == 4
    of_worker = wait_until(lambda: _idle(worker), within=WITHIN, what="the worker has sampled that all is acknowledged")
    assert of_worker is not None
    assert of_worker("contentgen_worker_runs_total", outcome="COMPLETED") == 4
    assert of_worker("contentgen_worker_runs_total", outcome="CREATOR_ERROR") == 1
    assert of_worker("contentgen_worker_run_seconds_count") == 5
    assert of_worker("contentgen_worker_leases_total", end="completed") == 4
    assert of_worker("contentgen_worker_leases_total", end="failed") == 1
    assert of_worker("contentgen_worker_cli_exits_total", exit="zero") == 5  # `--version` is one
    assert of_worker("contentgen_worker_cli_exits_total", exit="nonzero") == 1
    assert of_worker("contentgen_worker_cli_seconds_total") >= 0.5
    assert of_worker("contentgen_worker_slots") == 2
    assert of_worker("contentgen_worker_sessions_total") == 1
    assert of_worker("contentgen_worker_circuit_closed") == 1
    assert of_worker("contentgen_worker_spooled_results") == 0
    assert of_worker("contentgen_worker_disk_writable") == 1


def test_a_worker_is_ready_while_its_session_is_open_and_shows_the_age_of_what_it_spools(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=60).start()
    worker = stack.worker("worker", scheduler, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    port = worker.metrics_port
    wait_until(lambda: get(port, "/readyz") == (200, "ok\n"), within=WITHIN, what="it is ready")
    client = scheduler.client
    task_id = client.submit(client.create_account(), options={"demo-seconds": "1"})
    wait_until(lambda: stack.journal.creates(task_id), within=WITHIN, what="the CLI runs")

    scheduler.kill()
    wait_until(lambda: get(port, "/readyz")[0] == 503, within=WITHIN, what="it is not ready")
    assert get(port, "/readyz") == (503, "no session with a scheduler is open\n")
    assert get(port, "/livez") == (200, "ok\n")
    wait_until(lambda: Scrape(port)("contentgen_worker_connected") == 0, within=WITHIN, what="the metric says so, too")
    wait_until(lambda: Scrape(port)("contentgen_worker_spooled_results") == 1, within=WITHIN, what="it is spooled")
    wait_until(
        lambda: Scrape(port)("contentgen_worker_oldest_spooled_result_seconds") > 0, within=WITHIN, what="it has an age"
    )

    scheduler.start()
    scheduler.client.wait_completed(task_id, within=WITHIN)
    wait_until(lambda: Scrape(port)("contentgen_worker_spooled_results") == 0, within=WITHIN, what="it is acknowledged")
    wait_until(lambda: get(port, "/readyz") == (200, "ok\n"), within=WITHIN, what="it is ready")
    scraped = Scrape(port)
    assert scraped("contentgen_worker_sessions_total") == 2
    assert scraped("contentgen_worker_stream_ends_total", code="UNAVAILABLE") >= 1


def test_a_broken_cli_is_seen(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=30).start()
    worker = stack.worker("worker", scheduler, slots=1, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    port = worker.metrics_port
    assert Scrape(port)("contentgen_worker_circuit_closed") == 1
    client = scheduler.client
    account_id = client.create_account()
    for _ in range(MAX_QUICK_FAILURES):
        client.submit(account_id, options={"demo-fail": "exit"}, auto_retry=False)
    wait_until(lambda: Scrape(port)("contentgen_worker_circuit_closed") == 0, within=WITHIN, what="the circuit is open")
    assert Scrape(port)("contentgen_worker_runs_total", outcome="CREATOR_ERROR") == MAX_QUICK_FAILURES
    assert get(port, "/readyz") == (200, "ok\n")


def test_an_address_that_is_in_use_ends_either_service(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taken = f"127.0.0.1:{listening.getsockname()[1]}"
        scheduler = stack.scheduler()
        for service in (scheduler, stack.worker("worker", scheduler)):
            service.launch(CONTENTGEN_METRICS_LISTEN=taken).ended(WITHIN, status=78)
            assert f"CONTENTGEN_METRICS_LISTEN={taken}: " in service.tail()


def _idle(worker: Service) -> Scrape | None:
    scraped = Scrape(worker.metrics_port)
    idle = not scraped("contentgen_worker_held_leases") and not scraped("contentgen_worker_slots_in_use")
    return scraped if idle and scraped("contentgen_worker_connected") else None


# `contentgen-scheduler health` and `config check --connect`, against schedulers as they are configured.


LIMIT = 60


def ran(command: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    program, *arguments = command.split()
    return run_to_end([installed(program), *arguments], environment, within=LIMIT)


def beside(scheduler: Scheduler, **changed: str) -> dict[str, str]:
    """The environment of a health check in the scheduler's container."""
    return {**scheduler.environment, **changed}


def test_a_scheduler_on_this_machine_is_healthy_until_it_ends(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    healthy = ran("contentgen-scheduler health", beside(scheduler))
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "SERVING\n", "")
    wide = beside(scheduler, CONTENTGEN_LISTEN=f"0.0.0.0:{scheduler.port}", CONTENTGEN_INSECURE="on")
    assert ran("contentgen-scheduler health", wide).returncode == 0
    assert ran(f"contentgen-scheduler health --target {scheduler.target}", inherited()).returncode == 0
    scheduler.stop()
    gone = ran("contentgen-scheduler health", beside(scheduler))
    assert (gone.returncode, gone.stdout) == (1, "")
    assert gone.stderr.startswith("UNAVAILABLE: ")
    assert len(gone.stderr.splitlines()) == 1


@pytest.mark.parametrize("of_clients", [False, True], ids=["tls", "mutual-tls"])
def test_tls_and_tokens_are_those_of_the_settings(stack: Stack, certificates: Path, of_clients: bool) -> None:
    settings = {
        "CONTENTGEN_TLS_CERT": str(certificates / "server.pem"),
        "CONTENTGEN_TLS_KEY": str(certificates / "server.key"),
        "CONTENTGEN_TOKENS_FILE": str(write(stack.folder / "tokens", line("op", "operator"))),
        **({"CONTENTGEN_TLS_CLIENT_CA": str(certificates / "ca.pem")} if of_clients else {}),
    }
    scheduler = stack.scheduler().start(**settings)
    healthy = ran("contentgen-scheduler health", beside(scheduler))
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "SERVING\n", "")

    another = beside(scheduler, CONTENTGEN_TLS_CERT=str(certificates / "other.pem"))
    another["CONTENTGEN_TLS_KEY"] = str(certificates / "other.key")
    assert ran("contentgen-scheduler health", another).returncode == 1

    caller = {**inherited(), "CONTENTGEN_TLS_CA": str(certificates / "ca.pem")}
    if of_clients:
        assert ran(f"contentgen-scheduler health --target {scheduler.target}", caller).returncode == 1
        caller["CONTENTGEN_TLS_CLIENT_CERT"] = str(certificates / "client.pem")
        caller["CONTENTGEN_TLS_CLIENT_KEY"] = str(certificates / "client.key")
    assert ran(f"contentgen-scheduler health --target {scheduler.target}", caller).returncode == 0
    assert ran(f"contentgen-scheduler health --target {scheduler.target} --timeout 1", inherited()).returncode == 1

    worker = {**caller, "CONTENTGEN_SCHEDULER": scheduler.target, "CREATOR_CLI_PATH": "true"}
    checked = ran("contentgen-worker config check --connect", {**worker, "CONTENTGEN_DATA_DIR": str(stack.folder)})
    assert checked.returncode == 0, checked.stderr
    assert f"CONTENTGEN_SCHEDULER={scheduler.target} (environment): serves\n" in checked.stdout


def health_of(scheduler: Scheduler) -> str:
    """What the check of an unhealthy scheduler says; empty while it is healthy."""
    checked = ran("contentgen-scheduler health", scheduler.environment)
    assert checked.returncode == bool(checked.stderr)
    return checked.stderr


def test_a_scheduler_without_its_database_is_unhealthy(stack: Stack, server: EmbeddedPostgres) -> None:
    scheduler = stack.scheduler(database_url=server.url()).start()
    server.quit()
    wait_until(lambda: "NOT_SERVING" in health_of(scheduler), within=LIMIT, what="the outage is told")


# What a scheduler takes for large messages is the system's again afterwards, and what it owes a worker is bounded.


SIZES = [size * 1_000 for size in (20, 300, 1_000, 3_900)]
ROUNDS = 8
BATCH_SIZE = 32
KEPT_MIB = 96
"""What may stay: 13 to 39 were seen, and 336 where refused calls kept their requests until the collector came."""
STATES, NAMES = 200, 10_000
OWED_MIB = 64
"""What a worker that reads nothing may cost: 18 were seen, and 96 to 174 where all answers waited for it."""
REST_S = 3.0


def test_large_messages_leave_little_behind(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    process = psutil.Process(scheduler.pid)
    before = process.memory_info().rss
    with grpc.insecure_channel(scheduler.target) as channel:
        submit = TaskServiceStub(channel).SubmitTask
        for _ in range(ROUNDS):
            requests = [pb.SubmitTaskRequest(account_id=1, topic="x" * SIZES[i % 4]) for i in range(BATCH_SIZE)]
            refused = [submit.future(request).code() for request in requests]
            assert set(refused) == {grpc.StatusCode.INVALID_ARGUMENT}
    most = before + KEPT_MIB * 2**20
    wait_until(lambda: process.memory_info().rss < most, within=10, what="the memory of large messages is freed")


class DeafWorker(LeaseStream):
    """Sends heartbeats, each of as many leases as one may name, as long as they are taken; reads only the welcome."""

    def __init__(self, channel: aio.Channel) -> None:
        super().__init__(channel)
        self.held = {key: worker_pb.AssignedLease(lease_id=key, attempt=1) for key in map(lease_id, range(NAMES))}

    async def send(self) -> None:
        """Ends when all is written, or nothing more is taken."""
        with suppress(TimeoutError):
            for _ in range(STATES):
                async with asyncio.timeout(REST_S):
                    await self.write(self.next_heartbeat(0))


def lease_id(key: int) -> str:
    return f"lease-{key:016x}-{1:08x}"


async def test_a_worker_that_reads_nothing_is_owed_little(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    process = psutil.Process(scheduler.pid)
    before, most = process.memory_info().rss, 0
    async with (
        aio.insecure_channel(scheduler.target) as channel,
        DeafWorker(channel) as worker,
        asyncio.TaskGroup() as group,
    ):
        sending = group.create_task(worker.send())
        while not sending.done():
            most = max(most, process.memory_info().rss)
            await asyncio.wait({sending}, timeout=0.01)
    assert worker._heartbeats > 1
    assert (most - before) / 2**20 < OWED_MIB
