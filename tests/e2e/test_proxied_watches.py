"""Watches behind nginx, HAProxy and Envoy: what these do to a stream that they end is a loss like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import pytest

from contentgen import ContentGenerationClient, TaskChange, Watch
from tests.e2e.proxies import ENVOY_SETTINGS, HAPROXY_SETTINGS, NGINX_SETTINGS, envoy, haproxy, nginx
from tests.e2e.test_client_watch import WHOLE_LIFE, lives
from tests.harness.stack import Stack
from tests.harness.waiting import wait_until

LIMIT = 60
TASKS = 3

Proxy = Callable[[Path, Sequence[int], str], AbstractContextManager[str]]


@pytest.mark.parametrize(
    ("proxy", "settings"),
    [(nginx, NGINX_SETTINGS), (haproxy, HAPROXY_SETTINGS), (envoy, ENVOY_SETTINGS)],
    ids=["nginx", "haproxy", "envoy"],
)
def test_a_watch_outlives_a_scheduler_that_is_killed(stack: Stack, tmp_path: Path, proxy: Proxy, settings: str) -> None:
    scheduler = stack.scheduler().start()
    account = scheduler.client.create_account()
    with (
        proxy(tmp_path, [scheduler.port], settings) as target,
        ThreadPoolExecutor(1) as executor,
        ContentGenerationClient(target) as client,
    ):
        task_ids = client.submit_tasks({"account_id": account, "topic": f"topic {n}"} for n in range(TASKS))
        with client.watch(task_ids, until_ended=True) as watch:
            seen: list[TaskChange] = []
            events = executor.submit(followed, watch, seen)
            wait_until(lambda: len(seen) == TASKS, within=LIMIT, what="the watch has begun")
            scheduler.kill()
            scheduler.start()
            stack.worker("a", scheduler, slots=TASKS, CREATOR_DEMO_SECONDS="0.1").start()
            moves = lives(events.result(LIMIT))
    assert moves == {task_id: [(None, "pending"), *pairwise(WHOLE_LIFE)] for task_id in task_ids}


@pytest.mark.parametrize(
    ("proxy", "settings"),
    [
        (nginx, "grpc_read_timeout 1s;"),
        (haproxy, "timeout client 1s\n  timeout server 1s"),
        (envoy, "timeout: 1s"),
        (envoy, "timeout: 0s, max_stream_duration: {max_stream_duration: 1s}"),
        (envoy, "timeout: 0s, idle_timeout: 1s"),
    ],
    ids=["nginx", "haproxy", "envoy's route", "envoy's stream", "envoy's idle time"],
)
def test_a_watch_goes_on_past_a_proxy_s_time_out(stack: Stack, tmp_path: Path, proxy: Proxy, settings: str) -> None:
    scheduler = stack.scheduler().start()
    account = scheduler.client.create_account()
    with (
        proxy(tmp_path, [scheduler.port], settings) as target,
        ThreadPoolExecutor(1) as executor,
        ContentGenerationClient(target) as client,
    ):
        task_ids = client.submit_tasks({"account_id": account, "topic": f"topic {n}"} for n in range(TASKS))
        with client.watch(task_ids, until_ended=True) as watch:
            events = executor.submit(list, watch)
            cut_off(watch, events, times=2)
            stack.worker("a", scheduler, slots=TASKS, CREATOR_DEMO_SECONDS="0.1").start()
            moves = lives(events.result(LIMIT))
    assert moves == {task_id: [(None, "pending"), *pairwise(WHOLE_LIFE)] for task_id in task_ids}


@pytest.mark.parametrize(
    "settings", [NGINX_SETTINGS, HAPROXY_SETTINGS, ENVOY_SETTINGS], ids=["nginx", "haproxy", "envoy"]
)
def test_the_settings_are_those_of_the_documentation(settings: str) -> None:
    documented = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    for setting in settings.replace("; ", ";\n").splitlines():
        assert setting.strip() in documented


def followed(watch: Watch, seen: list[TaskChange]) -> list[TaskChange]:
    """All events of a watch; `seen` has them as they come."""
    seen.extend(watch)
    return seen


def cut_off(watch: Watch, events: Future[list[TaskChange]], times: int) -> None:
    """Returns once the proxy has ended so many streams of the watch, and another one is there."""
    streams = set()

    def again() -> bool:
        assert not events.done(), events.exception()
        streams.add(watch._shared.stream._stream)
        return len(streams - {None}) > times

    wait_until(again, within=LIMIT, what="the watch has another stream")
