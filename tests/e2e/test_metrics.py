"""What real processes tell Prometheus while they work, compared with what was done."""

from __future__ import annotations

from tests.harness.scrape import Scrape, get
from tests.harness.service import Service
from tests.harness.stack import Stack
from tests.harness.waiting import wait_until
from worker_svc.health import MAX_QUICK_FAILURES

WITHIN = 30.0
LISTEN = "127.0.0.1:0"


def test_the_figures_of_scheduler_and_worker_are_those_of_what_was_done(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=30, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    worker = stack.worker("worker", scheduler, slots=2, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    client = scheduler.client
    account_id = client.create_account()
    done = [client.submit(account_id, options={"demo-seconds": "0.1"}) for _ in range(4)]
    failing = client.submit(account_id, options={"demo-fail": "exit", "demo-seconds": "0.1"}, auto_retry=False)
    for task_id in done:
        client.wait_completed(task_id, within=WITHIN)
    client.wait(failing, within=WITHIN)

    of_scheduler = Scrape(_port(scheduler))
    assert of_scheduler("contentgen_task_moves_total", source="none", target="pending") == 5
    assert of_scheduler("contentgen_attempts_total", reason="COMPLETED") == 4
    assert of_scheduler("contentgen_attempts_total", reason="CREATOR_ERROR") == 1
    assert of_scheduler("contentgen_task_queue_seconds_count", priority="5") == 5
    assert of_scheduler("contentgen_task_seconds_count", status="completed") == 4
    assert of_scheduler("contentgen_task_seconds_count", status="failed") == 1

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


def test_a_worker_is_ready_while_its_session_is_open(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=30).start()
    worker = stack.worker("worker", scheduler, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    port = _port(worker)
    assert get(port, "/readyz") == (200, "ok\n")
    scheduler.kill()
    wait_until(lambda: get(port, "/readyz")[0] == 503, within=WITHIN, what="it is not ready")
    assert get(port, "/readyz") == (503, "no session with a scheduler is open\n")
    assert get(port, "/livez") == (200, "ok\n")
    wait_until(lambda: Scrape(port)("contentgen_worker_connected") == 0, within=WITHIN, what="the metric says so, too")
    scheduler.start()
    wait_until(lambda: get(port, "/readyz")[0] == 200, within=WITHIN, what="it is ready again")
    scraped = Scrape(port)
    assert scraped("contentgen_worker_sessions_total") == 2
    assert scraped("contentgen_worker_stream_ends_total", code="UNAVAILABLE") >= 1


def test_a_result_that_waits_in_the_spool_is_seen_with_its_age(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=60).start()
    worker = stack.worker("worker", scheduler, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    client = scheduler.client
    task_id = client.submit(client.create_account(), options={"demo-seconds": "1"})
    wait_until(lambda: stack.journal.creates(task_id), within=WITHIN, what="the CLI runs")
    scheduler.kill()
    port = _port(worker)
    wait_until(lambda: Scrape(port)("contentgen_worker_spooled_results") == 1, within=WITHIN, what="it is spooled")
    wait_until(
        lambda: Scrape(port)("contentgen_worker_oldest_spooled_result_seconds") > 0, within=WITHIN, what="it has an age"
    )
    scheduler.start()
    scheduler.client.wait_completed(task_id, within=WITHIN)
    wait_until(lambda: Scrape(port)("contentgen_worker_spooled_results") == 0, within=WITHIN, what="it is acknowledged")


def test_a_broken_cli_is_seen(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=30).start()
    worker = stack.worker("worker", scheduler, slots=1, CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    port = _port(worker)
    assert Scrape(port)("contentgen_worker_circuit_closed") == 1
    client = scheduler.client
    account_id = client.create_account()
    for _ in range(MAX_QUICK_FAILURES):
        client.submit(account_id, options={"demo-fail": "exit"}, auto_retry=False)
    wait_until(lambda: Scrape(port)("contentgen_worker_circuit_closed") == 0, within=WITHIN, what="the circuit is open")
    assert Scrape(port)("contentgen_worker_runs_total", outcome="CREATOR_ERROR") == MAX_QUICK_FAILURES
    assert get(port, "/readyz") == (200, "ok\n")


def test_an_address_that_is_in_use_ends_either_service(stack: Stack) -> None:
    scheduler = stack.scheduler(CONTENTGEN_METRICS_LISTEN=LISTEN).start()
    taken = f"127.0.0.1:{_port(scheduler)}"
    _ends_at_once(stack.scheduler("another", CONTENTGEN_METRICS_LISTEN=taken), taken)
    _ends_at_once(stack.worker("worker", scheduler, CONTENTGEN_METRICS_LISTEN=taken), taken)


def _ends_at_once(service: Service, taken: str) -> None:
    service.launch()
    wait_until(lambda: not service.alive, within=WITHIN, what="it has ended")
    assert service.exit_status == 78
    assert f"CONTENTGEN_METRICS_LISTEN={taken}: " in service.tail()


def _idle(worker: Service) -> Scrape | None:
    scraped = Scrape(_port(worker))
    idle = not scraped("contentgen_worker_held_leases") and not scraped("contentgen_worker_slots_in_use")
    return scraped if idle and scraped("contentgen_worker_connected") else None


def _port(service: Service) -> int:
    """Where it serves its metrics, as its log says."""
    (ready,) = service.events("ready") or service.events("metrics.ready")
    return int(str(ready["metrics_listen"]).rpartition(":")[2])
