"""Scenario 1: the example of the old application's quick reference, from submit to publish pool."""

from __future__ import annotations

import pytest

from contentgen.v1 import content_service_pb2 as content_pb
from tests.harness.stack import EMBEDDED, Stack

TOPIC = "人工智能的未来发展"


@pytest.mark.costly("all services with an embedded server")
@pytest.mark.parametrize(("profile", "database_url"), [("reference", EMBEDDED), ("json", None)])
def test_the_reference_example_completes_with_content_and_pool_entry(
    stack: Stack, profile: str, database_url: str | None
) -> None:
    scheduler = stack.scheduler(database_url=database_url).start()
    client = scheduler.client
    stack.worker("a", scheduler, CREATOR_PROFILE=profile, CREATOR_DEMO_SECONDS="0.5").start()
    account_id = client.create_account()
    task = client.wait_completed(client.submit(account_id, TOPIC, priority=8, auto_approve=True), within=15)

    content = client.content(task.content_id)
    assert (content.task_id, content.account_id, content.title) == (task.task_id, account_id, TOPIC)
    assert TOPIC in content.body
    assert content.word_count == len(content.body) > 200
    assert 0 < len(content.summary) <= 200
    assert not set("#![]*\n") & set(content.summary)
    assert content.review_status == content_pb.REVIEW_STATUS_APPROVED
    [entry] = client.publish_pool()
    assert (entry.content_id, entry.account_id, entry.priority) == (content.content_id, account_id, 8)
    assert entry.status == content_pb.PUBLISH_STATUS_PENDING
    assert client.moves(task.task_id) == [
        ("pending", "SUBMITTED"),
        ("submitted", "LEASED"),
        ("processing", "STARTED"),
        ("completed", "COMPLETED"),
    ]


def test_a_content_without_auto_approve_waits_for_review_outside_the_pool(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    client = scheduler.client
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="0.2").start()
    task_id = client.submit(client.create_account(), TOPIC, priority=8, auto_approve=False)
    task = client.wait_completed(task_id, within=15)
    assert client.content(task.content_id).review_status == content_pb.REVIEW_STATUS_PENDING_REVIEW
    assert client.publish_pool() == []
