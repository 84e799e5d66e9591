"""CLIs that misbehave, and the published package, with real workers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import pytest

from contentgen.v1 import content_service_pb2 as content_pb
from tests.harness.client import request, status_name
from tests.harness.creators import HOSTILE_TOPICS
from tests.harness.processes import belonging_to
from tests.harness.stack import Stack
from tests.harness.waiting import PATIENCE_S, wait_until_gone
from tests.published.package import ARTICLE, PASSED, PICTURES, serving

pytestmark = pytest.mark.e2e


# Scenarios 7 and 9: CLIs that misbehave, and topics that would make one misbehave.

SHORT_TIMEOUT = 2.0
"""Seconds: for CLIs that would never end."""


class Outcome(NamedTuple):
    """How a task ends."""

    status: str
    reason: str = ""
    exit_code: str = ""


OUTCOMES = {
    "exit": Outcome("failed", "CREATOR_ERROR", "3"),
    "garbage": Outcome("failed", "CREATOR_INVALID_RESPONSE"),
    "empty": Outcome("failed", "CREATOR_INVALID_RESPONSE"),
    "big": Outcome("failed", "RESULT_TOO_LARGE"),
    "hang": Outcome("timeout", "TASK_TIMEOUT"),
    "ignore-term": Outcome("timeout", "TASK_TIMEOUT"),
    "fork": Outcome("completed"),
}
"""Of each misbehaviour."""


def test_each_misbehaviour_has_its_own_outcome_and_leaves_nothing_running(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=30).start()
    client = scheduler.client
    worker = stack.worker("worker", scheduler, slots=len(OUTCOMES), CREATOR_DEMO_SECONDS="0.2").start()
    idle = set(belonging_to(stack.folder))
    account_id = client.create_account()
    task_ids = {
        fail: client.submit(
            account_id,
            options={"demo-fail": fail},
            timeout=SHORT_TIMEOUT if outcome.status == "timeout" else 60,
            auto_retry=False,
        )
        for fail, outcome in OUTCOMES.items()
    }

    tasks = {fail: client.wait(task_id, within=30) for fail, task_id in task_ids.items()}
    outcomes = {
        fail: Outcome(status_name(task.status), task.error.reason, task.error.details.get("exit_code", ""))
        for fail, task in tasks.items()
    }
    assert outcomes == OUTCOMES
    assert {(task.attempt, task.retry_count) for task in tasks.values()} == {(1, 0)}
    for fail, task_id in task_ids.items():
        [create] = stack.journal.creates(task_id)
        assert len(create.children) == (3 if fail == "fork" else 0)
        wait_until_gone(create.processes, within=10, what="the CLI and what it left behind are gone")
    wait_until_gone(lambda: set(belonging_to(stack.folder)) - idle, within=10, what="nothing else is left running")
    assert worker.alive
    assert [content.task_id for content in client.contents()] == [task_ids["fork"]]


def test_hostile_topics_reach_the_cli_byte_for_byte(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=30).start()
    client = scheduler.client
    stack.worker("worker", scheduler, slots=4, CREATOR_PROFILE="json", CREATOR_DEMO_SECONDS="0").start()
    account_id = client.create_account()
    task_ids = client.submit_all(request(account_id, topic, auto_retry=False) for topic in HOSTILE_TOPICS.values())
    tasks = [client.wait_completed(task_id, within=40) for task_id in task_ids]

    assert [task.topic for task in tasks] == list(HOSTILE_TOPICS.values())
    creates = {create.task_id: create for create in stack.journal.creates()}
    assert len(creates) == len(HOSTILE_TOPICS)
    for task_id, (kind, topic) in zip(task_ids, HOSTILE_TOPICS.items(), strict=True):
        assert creates[task_id].topic == topic, kind
        assert creates[task_id].topic_sha256 == hashlib.sha256(topic.encode()).hexdigest(), kind
    assert not list(stack.folder.rglob("pwned"))
    assert client.content(tasks[-1].content_id).title == "😀" * 255


# The published npm package as the CLI of a real worker: from submit to publish pool.

TOPIC = "--help 人工智能的“未来”\n发展"


@pytest.mark.costly("the published creator runs whole", seconds=4)
def test_a_task_from_submit_to_publish_pool(stack: Stack, published_cli: Path) -> None:
    scheduler = stack.scheduler(lease_ttl=120).start()
    client = scheduler.client
    profile, passed = "llm-content-creator", ",".join(PASSED)
    worker = stack.worker(
        "worker", scheduler, CREATOR_PROFILE=profile, CREATOR_CLI_PATH=str(published_cli), CREATOR_ENV=passed
    )
    with serving() as endpoints:
        worker.start(**endpoints.environment)
        assert client.workers()[worker.name].creator_version == "0.1.0", "as it says of itself"
        assert endpoints.asked == []
        account_id = client.create_account()
        task = client.wait_completed(client.submit(account_id, TOPIC, keywords="智能,未来"), within=PATIENCE_S)

    content = client.content(task.content_id)
    assert (content.task_id, content.title, content.body, content.html_body) == (task.task_id, TOPIC, ARTICLE, "")
    assert (tuple(content.images), content.cover_image) == (PICTURES, PICTURES[0])
    assert content.quality_score == pytest.approx(8.6)
    [entry] = client.publish_pool()
    assert (entry.content_id, entry.status) == (content.content_id, content_pb.PUBLISH_STATUS_PENDING)
    assert endpoints.strays == []
