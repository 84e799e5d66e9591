"""Callers, workers and watches behind nginx, HAProxy and Envoy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from contentgen import ContentGenerationClient, TaskChange, Watch
from tests.client.test_watch_scenario import WHOLE_LIFE, lives
from tests.harness.load import Load
from tests.harness.processes import free_port
from tests.harness.proxies import (
    ENVOY_SETTINGS,
    HAPROXY_SETTINGS,
    NGINX_SETTINGS,
    NGINX_UNAVAILABLE,
    envoy,
    haproxy,
    nginx,
)
from tests.harness.stack import Scheduler, Stack, Worker
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.e2e

LEASE = 30.0
CALLERS = 2
WITHIN = 30.0
FEW_CALLS_NGINX = f"{NGINX_SETTINGS} keepalive_requests 20; keepalive_time 2s;"
"""It sends GOAWAY after 20 calls and after 2 s."""
FEW_CALLS_HAPROXY = f"{HAPROXY_SETTINGS}\nglobal\n  tune.h2.fe.max-total-streams 20"
"""It sends GOAWAY after 20 calls."""
LOGGING_HAPROXY = f"{HAPROXY_SETTINGS}\n  retries 0\n  log stdout format raw local0\n  option httplog"
CALLS = 40
ATTEMPTS = 5
"""By the client's service config."""
Proxy = Callable[[Path, Sequence[int]], AbstractContextManager[str]]
"""In front of these ports, with files in this folder."""
HASTY = {
    "nginx": partial(nginx, settings="grpc_read_timeout 1s;"),
    "haproxy": partial(haproxy, settings="timeout client 1s\n  timeout server 1s"),
}
HASTY_ENVOYS = {
    "envoy's route": partial(envoy, settings="timeout: 1s"),
    "envoy's stream": partial(envoy, settings="timeout: 0s, max_stream_duration: {max_stream_duration: 1s}"),
    "envoy's idle time": partial(envoy, settings="timeout: 0s, idle_timeout: 1s"),
}


@pytest.mark.costly("schedulers are replaced under load", seconds=3)
@pytest.mark.parametrize("proxy", [nginx, haproxy])
def test_a_rolling_restart_behind_a_proxy(stack: Stack, tmp_path: Path, proxy: Proxy) -> None:
    schedulers = [stack.scheduler(name, lease_ttl=LEASE).start() for name in ("one", "two")]
    with proxy(tmp_path, [upstream.port for upstream in schedulers]) as target:
        workers = _workers(stack, target, target)
        with Load(target, schedulers[0].client.create_account(), callers=CALLERS, seconds=1.0) as load:
            for scheduler in schedulers:
                scheduler.stop()
                load.check()
                scheduler.start()
                _wait_used(load, scheduler)
            load.finish()
        _stop(workers)
    _assert_each_ran_once(stack, schedulers[0], load)


@pytest.mark.costly("schedulers with other ages start by themselves", seconds=1)
def test_old_connections_and_streams_are_noticed_by_nobody(stack: Stack, tmp_path: Path) -> None:
    """The schedulers' connections are old after 1 s, workers' streams after 1 to 2 s, a proxy's after 20 calls."""
    schedulers = [stack.scheduler(name, lease_ttl=LEASE) for name in ("one", "two")]
    for scheduler in schedulers:
        scheduler.command = [sys.executable, "-m", "tests.harness.short_ages"]
        scheduler.environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        scheduler.start()
    ports = [upstream.port for upstream in schedulers]
    client = schedulers[0].client
    with nginx(tmp_path, ports, FEW_CALLS_NGINX) as one, haproxy(tmp_path, ports, FEW_CALLS_HAPROXY) as other:
        workers = _workers(stack, one, other)
        with (
            Load(one, client.create_account(), callers=1, seconds=1.0) as first,
            Load(other, client.create_account(), callers=1, seconds=1.0) as second,
        ):
            wait_until(lambda: _moved((first, second), workers, times=2), within=WITHIN, what="all have moved twice")
            for load in (first, second):
                load.finish()
        _stop(workers)
    _assert_each_ran_once(stack, schedulers[0], first, second)


@pytest.mark.parametrize(
    ("proxy", "log"),
    [(nginx, "calls"), (partial(haproxy, settings=LOGGING_HAPROXY), "haproxy.log")],
    ids=["nginx", "haproxy"],
)
def test_calls_that_a_proxy_refuses_are_repeated(tmp_path: Path, proxy: Proxy, log: str) -> None:
    """By gRPC, which does not repeat each call that a page of HTML answers."""
    with proxy(tmp_path, [free_port()]) as target, ContentGenerationClient(target) as client:
        with ThreadPoolExecutor(CALLS) as executor:
            calls = [executor.submit(client.get_account, 1) for _ in range(CALLS)]
        for call in calls:
            assert "the proxy reaches no scheduler" in str(call.exception())
    assert (tmp_path / log).read_text().count("AccountService/GetAccount HTTP") == CALLS * ATTEMPTS


@pytest.mark.parametrize("proxy", HASTY.values(), ids=HASTY)
def test_a_run_outlives_a_proxy_s_time_out(stack: Stack, tmp_path: Path, proxy: Proxy) -> None:
    """It ends the worker's stream each second, because heartbeats are rarer."""
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    with proxy(tmp_path, [scheduler.port]) as target:
        worker = stack.quick_worker("a", target).start()
        task_id = client.submit(client.create_account(), options={"seconds": "4"})
        task = client.wait_completed(task_id, within=WITHIN)
        assert (task.attempt, len(stack.journal.creates())) == (1, 1)
        assert len(worker.events("session.opened")) > 2
        worker.stop()


def _workers(stack: Stack, one: str, other: str) -> list[Worker]:
    """One at each target."""
    return [stack.quick_worker(name, target, slots=4).start() for name, target in (("a", one), ("b", other))]


def _wait_used(load: Load, scheduler: Scheduler) -> None:
    """Until the proxy sends calls there again."""

    def used() -> bool:
        load.check()
        return any(
            connection.raddr and connection.raddr.port == scheduler.port for connection in psutil.net_connections("tcp")
        )

    wait_until(used, within=WITHIN, what=f"the proxy has a connection to {scheduler.name}")


def _moved(loads: Sequence[Load], workers: Sequence[Worker], times: int) -> bool:
    for load in loads:
        load.check()
    return all(len(worker.events("session.opened")) > times for worker in workers)


def _stop(workers: Sequence[Worker]) -> None:
    """While the proxy is there: a worker without a scheduler waits for one before it ends, if it holds a result."""
    for worker in workers:
        worker.stop()


def _assert_each_ran_once(stack: Stack, scheduler: Scheduler, *loads: Load) -> None:
    runs = stack.journal.creates()
    task_ids = sorted(task_id for load in loads for task_id in load.task_ids)
    assert sorted((run.task_id, run.status) for run in runs) == [(task_id, 0) for task_id in task_ids]
    reasons = {event.reason for task_id in task_ids for event in scheduler.client.history(task_id)}
    assert "WORKER_LOST" not in reasons


# Watches behind nginx, HAProxy and Envoy: what these do to a stream that they end is a loss like any other.


LIMIT = 60
TASKS = 3


@contextmanager
def watching(
    scheduler: Scheduler, target: str
) -> Iterator[tuple[Watch[TaskChange], list[TaskChange], Future[list[TaskChange]]]]:
    """A watch of pending tasks through a proxy; what it has told so far; and all that it tells until they have ended.

    At the end of the block the tasks run, and each move has been told once.
    """
    account = scheduler.client.create_account()
    with ThreadPoolExecutor(1) as executor, ContentGenerationClient(target) as client:
        task_ids = client.submit_tasks({"account_id": account, "topic": f"topic {n}"} for n in range(TASKS))
        with client.watch(task_ids, until_ended=True) as watch:
            seen: list[TaskChange] = []
            events = executor.submit(followed, watch, seen)
            yield watch, seen, events
            moves = lives(events.result(LIMIT))
    assert moves == {task_id: [(None, "pending"), *pairwise(WHOLE_LIFE)] for task_id in task_ids}


@pytest.mark.parametrize("proxy", [nginx, haproxy, envoy])
def test_a_watch_outlives_a_scheduler_that_is_killed(stack: Stack, tmp_path: Path, proxy: Proxy) -> None:
    scheduler = stack.scheduler().start()
    with proxy(tmp_path, [scheduler.port]) as target, watching(scheduler, target) as (_, seen, _events):
        wait_until(lambda: len(seen) == TASKS, within=LIMIT, what="the watch has begun")
        scheduler.kill()
        scheduler.start()
        stack.worker("a", scheduler, slots=TASKS, CREATOR_DEMO_SECONDS="0.1").start()


@pytest.mark.parametrize("proxy", [*HASTY.values(), *HASTY_ENVOYS.values()], ids=[*HASTY, *HASTY_ENVOYS])
def test_a_watch_goes_on_past_a_proxy_s_time_out(stack: Stack, tmp_path: Path, proxy: Proxy) -> None:
    scheduler = stack.scheduler().start()
    with proxy(tmp_path, [scheduler.port]) as target, watching(scheduler, target) as (watch, _, events):
        cut_off(watch, events, times=2)
        stack.worker("a", scheduler, slots=TASKS, CREATOR_DEMO_SECONDS="0.1").start()


@pytest.mark.parametrize(
    "settings",
    [NGINX_SETTINGS, NGINX_UNAVAILABLE, HAPROXY_SETTINGS, ENVOY_SETTINGS],
    ids=["nginx", "nginx's errors", "haproxy", "envoy"],
)
def test_the_settings_are_those_of_the_documentation(settings: str) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "how-to" / "load-balancers.md").read_text()
    for setting in settings.replace("; ", ";\n").splitlines():
        assert setting.strip() in documented


def followed(watch: Watch[TaskChange], seen: list[TaskChange]) -> list[TaskChange]:
    """All events of a watch; `seen` has them as they come."""
    seen.extend(watch)
    return seen


def cut_off(watch: Watch[TaskChange], events: Future[list[TaskChange]], times: int) -> None:
    """Returns once the proxy has ended so many streams of the watch, and another one is there."""
    streams = set()

    def again() -> bool:
        assert not events.done(), events.exception()
        streams.add(watch._stream._stream)
        return len(streams - {None}) > times

    wait_until(again, within=LIMIT, what="the watch has another stream")
