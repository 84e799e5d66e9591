"""The published npm package as the CLI of real workers: from submit to publish pool, and what happens in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest

from contentgen.v1 import content_service_pb2 as content_pb
from tests.harness.client import status_name
from tests.harness.processes import belonging_to
from tests.harness.stack import Stack, Worker
from tests.harness.waiting import wait_until, wait_until_gone
from tests.published.endpoints import ARTICLE, PASSED, PICTURES, Answer, Endpoints, Kind, serving

TOPIC = "--help 人工智能的“未来”\n发展"
LEASE = 120.0
"""Seconds: no lease of these scenarios expires."""
WITHIN = 60.0
"""Seconds: the CLI alone takes more than ten to start on a busy machine."""


def _worker(stack: Stack, target: str, cli: Path, endpoints: Endpoints) -> Worker:
    passed = ",".join(PASSED)
    profile = "llm-content-creator"
    worker = stack.worker("worker", target, CREATOR_PROFILE=profile, CREATOR_CLI_PATH=str(cli), CREATOR_ENV=passed)
    worker.environment |= endpoints.environment
    return worker


@pytest.mark.costly("the published creator runs whole")
def test_a_task_from_submit_to_publish_pool(stack: Stack, published_cli: Path) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    with serving() as endpoints:
        _worker(stack, scheduler.target, published_cli, endpoints).start()
        account_id = client.create_account()
        task = client.wait_completed(client.submit(account_id, TOPIC, keywords="智能,未来"), within=WITHIN)

    content = client.content(task.content_id)
    assert (content.task_id, content.title, content.body, content.html_body) == (task.task_id, TOPIC, ARTICLE, "")
    assert (tuple(content.images), content.cover_image) == (PICTURES, PICTURES[0])
    assert content.quality_score == pytest.approx(8.6)
    [entry] = client.publish_pool()
    assert (entry.content_id, entry.status) == (content.content_id, content_pb.PUBLISH_STATUS_PENDING)
    assert endpoints.strays == []


@pytest.mark.costly("the published creator's start, twice")
def test_a_killed_workers_run_dies_with_it_and_its_task_runs_again(stack: Stack, published_cli: Path) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    with serving(article=Answer(held=True)) as endpoints:
        worker = _worker(stack, scheduler.target, published_cli, endpoints).start()
        task_id = client.submit(client.create_account(), TOPIC)
        wait_until(lambda: endpoints.of(Kind.ARTICLE), within=WITHIN, what="the model is asked for the article")
        worker.kill()
        wait_until_gone(lambda: belonging_to(worker.folder), within=10, what="the guard and the CLI are gone")
    with serving() as endpoints:
        worker.start(**endpoints.environment)
        task = client.wait_completed(task_id, within=WITHIN)
    assert (task.attempt, task.retry_count) == (2, 0)
    assert len(client.contents()) == 1


@pytest.mark.costly("the published creator's start, twice")
def test_a_run_that_takes_too_long_is_ended(stack: Stack, published_cli: Path) -> None:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    client = scheduler.client
    with serving(outline=Answer(held=True)) as endpoints:
        worker = _worker(stack, scheduler.target, published_cli, endpoints).start()
        idle = set(belonging_to(stack.folder))
        task_id = client.submit(client.create_account(), TOPIC, timeout=30, auto_retry=False)
        task = client.wait(task_id, within=WITHIN)
        wait_until_gone(lambda: set(belonging_to(stack.folder)) - idle, within=10, what="the CLI is gone")
    assert (status_name(task.status), task.error.reason) == ("timeout", "TASK_TIMEOUT")
    assert len(endpoints.of(Kind.OUTLINE)) == 1
    assert worker.alive
