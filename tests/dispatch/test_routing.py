"""Worker selectors: a task runs only where the labels are that it asks for, and keeps no other task waiting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from contentgen.v1 import task_pb2
from scheduler_svc.dispatch.routing import Routes, forget_selectors
from scheduler_svc.dispatch.work import raise_floors
from scheduler_svc.domain.errors import TooManySelectors
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import PendingReason
from scheduler_svc.domain.worker import MAX_ACCOUNT_SELECTORS
from tests.harness.client import request
from tests.harness.scheduling import FAILURE, RESULT, Scheduling, released
from tests.harness.stack import Stack
from tests.harness.waiting import PATIENCE_S, wait_until

VIDEO, TEXT = {"creator": "video"}, {"creator": "text"}
BOUND_S = 15.0
"""A worker that connects gets the tasks that waited for its labels within this time."""


def connect(scheduling: Scheduling, worker_id: str, labels: Mapping[str, str]) -> None:
    scheduling.hello(worker_id, labels=labels)


def take(scheduling: Scheduling, worker_id: str, labels: Mapping[str, str], count: int = 1) -> list[int]:
    """Claims as the dispatcher does for a worker with these labels; returns the tasks' keys in order."""
    scheduling.admit()
    routes = Routes()
    routes.replace(scheduling.run(lambda tx: tx.selectors.all()))
    capacity = scheduling.capacity(count, worker_id)
    claimed = scheduling.claim_for(capacity, selectors=routes.matched_by(labels))
    return [grant.ref.task_key for grant in claimed.grants]


@pytest.mark.unit
def test_a_worker_matches_what_its_labels_contain() -> None:
    routes = Routes()
    assert routes.replace([(1, VIDEO), (2, TEXT), (3, VIDEO | {"region": "eu"}), (9, {"region": "eu"})])
    assert routes.matched_by({}) == ()
    assert routes.matched_by(VIDEO | {"host": "a"}) == (1,)
    assert routes.matched_by(VIDEO | {"region": "eu"}) == (1, 3, 9)
    assert not routes.replace([(9, {"region": "eu"}), (2, TEXT), (3, {"region": "eu"} | VIDEO), (1, VIDEO)])


@pytest.mark.integration
class TestClaims:
    def test_only_a_worker_with_all_labels_gets_the_task(self, scheduling: Scheduling) -> None:
        both = VIDEO | {"region": "eu"}
        connect(scheduling, "text", TEXT)
        connect(scheduling, "video", both)
        (plain,) = scheduling.fill(1, 1)
        (key,) = scheduling.fill(1, 1, worker_selector=both, priority=10)
        assert take(scheduling, "text", TEXT, 5) == [plain]
        assert take(scheduling, "video", VIDEO, 5) == []
        assert take(scheduling, "video", both, 5) == [key]
        assert scheduling.task(key).priority == 10
        assert scheduling.task(key).worker_selector == both

    def test_what_nobody_can_run_keeps_no_other_task_waiting(self, scheduling: Scheduling) -> None:
        """Nor the virtual time: an account that comes later gets no more than its share."""
        other = scheduling.make_account()
        connect(scheduling, "text", TEXT)
        stuck = scheduling.fill(1, 700, worker_selector=VIDEO, priority=10)
        plain = scheduling.fill(1, 100) + scheduling.fill(other, 100)
        assert sorted(take(scheduling, "text", TEXT, 200)) == sorted(plain)
        scheduling.run(raise_floors)
        assert scheduling.explain(stuck[0])[1] is PendingReason.NO_MATCHING_WORKER
        assert scheduling.sql("SELECT count(tag) FROM ready") == [(0,)], "none has a seat that nobody can take"
        connect(scheduling, "video", VIDEO)
        scheduling.run(lambda tx: tx.signals.admit.add(1))
        assert take(scheduling, "video", VIDEO, 3) == stuck[:3]
        assert scheduling.explain(stuck[-1])[1] is PendingReason.ALL_SLOTS_BUSY

    def test_an_account_s_few_seats_are_for_those_that_can_run(self, scheduling: Scheduling) -> None:
        scheduling.change_account(1, max_concurrent_tasks=4)
        connect(scheduling, "text", TEXT)
        scheduling.fill(1, 10, worker_selector=VIDEO)
        plain = scheduling.fill(1, 10)
        assert take(scheduling, "text", TEXT, 9) == plain[:4]

    def test_it_is_fair_between_accounts_within_a_selector(self, scheduling: Scheduling) -> None:
        light = scheduling.make_account()
        connect(scheduling, "video", VIDEO)
        scheduling.fill(1, 100, worker_selector=VIDEO)
        scheduling.fill(light, 10, worker_selector=VIDEO)
        taken = [scheduling.task(key).account_id for key in take(scheduling, "video", VIDEO, 20)]
        assert Counter(taken) == {1: 10, light: 10}

    def test_queues_of_one_priority_take_turns(self, scheduling: Scheduling) -> None:
        light = scheduling.make_account()
        connect(scheduling, "video", VIDEO)
        scheduling.fill(1, 100, worker_selector=VIDEO)
        scheduling.fill(light, 10)
        taken = [scheduling.task(key).account_id for key in take(scheduling, "video", VIDEO, 20)]
        assert Counter(taken) == {1: 10, light: 10}
        (urgent,) = scheduling.fill(light, 1, priority=9)
        assert take(scheduling, "video", VIDEO, 1) == [urgent]

    @pytest.mark.parametrize("change", [released(), FAILURE], ids=["released", "failed"])
    def test_another_attempt_is_for_the_same_workers(self, scheduling: Scheduling, change: object) -> None:
        connect(scheduling, "text", TEXT)
        connect(scheduling, "video", VIDEO)
        (key,) = scheduling.fill(1, 1, worker_selector=VIDEO, auto_retry=False)
        assert take(scheduling, "video", VIDEO) == [key]
        (lease,) = scheduling.run(lambda tx: tx.leases.of_worker("video"))
        scheduling.report(lease.ref, change)  # type: ignore[arg-type]
        assert scheduling.run(forget_selectors) == (scheduling.task(key).status is Status.FAILED)
        if scheduling.task(key).status is Status.FAILED:
            scheduling.retry(key)
        scheduling.update(key, priority=7, topic="another")
        assert take(scheduling, "text", TEXT) == []
        assert take(scheduling, "video", VIDEO) == [key]
        assert scheduling.task(key).priority == 7

    def test_a_selector_is_there_while_a_task_is_open(self, scheduling: Scheduling) -> None:
        connect(scheduling, "video", VIDEO)
        (key,) = scheduling.fill(1, 1, worker_selector=VIDEO)
        assert scheduling.run(forget_selectors) == 0
        take(scheduling, "video", VIDEO)
        assert scheduling.run(forget_selectors) == 0
        (lease,) = scheduling.run(lambda tx: tx.leases.of_worker("video"))
        scheduling.report(lease.ref, RESULT)
        with scheduling.transaction() as tx:
            tx.selectors.all()
            assert scheduling.run(forget_selectors) == 1
        assert scheduling.sql("SELECT count(*) FROM shares WHERE priority > 15") == [(0,)]
        assert scheduling.task(key).worker_selector == VIDEO

    def test_an_account_brings_no_more_than_so_many(self, scheduling: Scheduling) -> None:
        for number in range(MAX_ACCOUNT_SELECTORS):
            scheduling.submit_one(worker_selector={"n": str(number)})
        with pytest.raises(TooManySelectors):
            scheduling.submit_one(worker_selector={"n": "one more"})
        assert scheduling.submit_one(worker_selector={"n": "0"}), "it is there"
        other = scheduling.make_account()
        assert scheduling.fill(other, 1, worker_selector={"n": "one more"}), "of another account"


@pytest.mark.e2e
@pytest.mark.costly("a scheduler and three workers", seconds=5)
def test_a_fleet_with_two_creators_works_side_by_side(stack: Stack) -> None:
    scheduler = stack.scheduler(lease_ttl=60).start()
    client = scheduler.client
    account_id = client.create_account()
    stack.quick_worker("text", scheduler, CONTENTGEN_LABELS="creator=text").start()
    ahead = client.submit_all(request(account_id, priority=10, worker_selector=VIDEO) for _ in range(1_000))
    texts = client.submit_all(request(account_id, worker_selector=TEXT if n % 2 else {}) for n in range(6))
    done = task_pb2.TASK_STATUS_COMPLETED
    wait_until(
        lambda: {task.status for task in client.tasks(texts)} == {done}, within=PATIENCE_S, what="all texts are written"
    )
    assert {task.worker_id for task in client.tasks(texts)} == {"text"}
    assert client.task(ahead[0]).pending_reason == task_pb2.PENDING_REASON_NO_MATCHING_WORKER
    stack.quick_worker("video", scheduler, CONTENTGEN_LABELS="creator=video, region=eu").start()
    wait_until(lambda: client.task(ahead[0]).status == done, within=BOUND_S, what="the first video is made")
    assert client.task(ahead[0]).worker_id == "video"
