"""Large results over what stands between a worker and its scheduler: a slow link, a proxy that limits requests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contentgen.v1 import task_pb2
from tests.e2e.previous import Previous
from tests.e2e.proxies import NGINX_SETTINGS, nginx
from tests.harness.client import Client, request
from tests.harness.quick_creator import quick_creator
from tests.harness.stack import Stack
from tests.harness.waiting import wait_until, wait_until_gone
from tests.harness.wires import cable_to

SLOW = 40_000
"""Bytes a second: 320 kbit/s."""
LIMITED = NGINX_SETTINGS.replace("client_max_body_size 0;", "")
"""nginx's own limit then: 1 MiB, of all that a stream sends."""
WITHIN = 60


def submit(client: Client, account: int, characters: int, **options: str) -> str:
    creator_options = {"characters": str(characters), **options}
    return client.submit_all([request(account, options=creator_options)])[0]


def completed(client: Client, task_id: str) -> bool:
    return client.task(task_id).status == task_pb2.TASK_STATUS_COMPLETED


@pytest.mark.costly("megabytes pass a slow proxy")
def test_a_large_result_gets_through_a_slow_link_and_its_lease_and_others_live(stack: Stack) -> None:
    """It takes 16 s, and a lease without a heartbeat 5 s."""
    scheduler = stack.scheduler().start()
    client, account = scheduler.client, scheduler.client.create_account()
    with cable_to(scheduler.port, rate=SLOW) as slow:
        creator = str(quick_creator(stack.folder))
        worker = stack.worker("far", slow.target, slots=2, CREATOR_CLI_PATH=creator).start()
        large = submit(client, account, 640_000)
        beside = submit(client, account, 16, seconds="8")
        wait_until(lambda: completed(client, beside), within=WITHIN, what="the task beside it is completed")
        assert not completed(client, large), "its result was no obstacle"
        wait_until(lambda: completed(client, large), within=WITHIN, what="the large result is there")
        wait_until_gone(worker.spooled, within=WITHIN, what="it is acknowledged")
        assert [client.task(task_id).attempt for task_id in (large, beside)] == [1, 1]
        assert len(worker.events("session.opened")) == 1, "on its first stream"
        worker.stop()


def test_a_result_that_a_proxy_does_not_let_through_holds_up_no_other_and_is_shown(
    stack: Stack, tmp_path: Path
) -> None:
    scheduler = stack.scheduler().start()
    client, account = scheduler.client, scheduler.client.create_account()
    creator = str(quick_creator(stack.folder))
    with nginx(tmp_path, [scheduler.port], LIMITED) as limited:
        worker = stack.worker("behind", limited, slots=3, CREATOR_CLI_PATH=creator).start()
        large = submit(client, account, 2_000_000)
        stuck = worker.wait_for("result.stuck", within=WITHIN)
        others = [submit(client, account, characters) for characters in (600_000, 200_000, 16)]
        wait_until(
            lambda: all(completed(client, task_id) for task_id in others),
            within=WITHIN,
            what="the others are completed",
        )
        shown = client.workers()["behind"]
        assert (shown.running, shown.unhealthy) == (True, False)
        assert re.match(r"a result of 2,0\d\d,\d{3} bytes", shown.last_error), "with the end of what the CLI printed"
        assert "3 streams ended" in shown.last_error
        assert (stuck["size"] // 10_000, stuck["task_id"]) == (200, large)
        assert client.task(large).status == task_pb2.TASK_STATUS_PROCESSING, "its lease is held"
        assert len(worker.spooled()) == 1
        worker.kill()
    with nginx(tmp_path, [scheduler.port]) as whole:
        worker.start(CONTENTGEN_SCHEDULER=whole)
        wait_until(lambda: completed(client, large), within=WITHIN, what="without the limit it is there")
        wait_until_gone(worker.spooled, within=WITHIN, what="it is acknowledged")
        wait_until(lambda: not client.workers()["behind"].last_error, within=WITHIN, what="nothing is wrong any more")
        assert client.task(large).attempt == 1
        worker.stop()


@pytest.mark.costly("services of two versions")
def test_a_large_result_passes_between_the_version_before_and_this_one(
    empty_db_url: str, stack: Stack, previous: Previous
) -> None:
    old = stack.scheduler("old", database_url=empty_db_url)
    old.command = [str(previous.scheduler)]
    creator = str(quick_creator(stack.folder))
    stack.worker("new-on-old", old.start(), CREATOR_CLI_PATH=creator).start()
    new = stack.scheduler("new").start()
    worker = stack.worker("old-on-new", new, CREATOR_CLI_PATH=creator)
    worker.command = [str(previous.worker)]
    worker.start()
    for client in (old.client, new.client):
        task_id = submit(client, client.create_account(), 1_500_000)
        assert client.wait_completed(task_id, within=WITHIN).attempt == 1
