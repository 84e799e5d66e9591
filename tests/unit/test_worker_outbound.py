"""What a stream sends next: when a heartbeat is due."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from contentgen.v1 import worker_service_pb2 as pb
from worker_svc.session.leases import Lease, LeaseBook
from worker_svc.session.outbound_policy import OutboundPolicy
from worker_svc.session.outbox import Outbox

TTL, INTERVAL = 6.0, 2.0
NOW = 1_000.0


class View:
    """A worker with one slot that runs nothing else."""

    def __init__(self) -> None:
        self.book = LeaseBook()
        self.outbox = Outbox()
        self.uploads = cast("Any", SimpleNamespace(late_waits=False))
        self.answered_poll, self.unhealthy, self.last_error = "", False, ""
        self.intake = cast("Any", SimpleNamespace(stopping=False, refuses=False, closed=False))
        self.intake.free_slots = lambda: int(not len(self.book))
        self.intake.warrants_heartbeat = lambda known: self.intake.free_slots() > known


def policy_of(view: View) -> OutboundPolicy:
    return OutboundPolicy(
        view,
        TTL,
        INTERVAL,
        NOW,
        accepts_deferrals=True,
        accepts_report_parts=True,
        on_quiesced=lambda: None,
    )


def heartbeat(policy: OutboundPolicy, at: float) -> pb.Heartbeat:
    message = policy.next_message(at)
    assert message is not None
    assert message.HasField("heartbeat")
    return message.heartbeat


def test_a_lease_that_the_newest_heartbeat_could_not_name_is_named_at_once() -> None:
    """It was claimed on the heartbeat before, whose interval is over. The next regular one would reach its deadline."""
    view = View()
    policy = policy_of(view)
    claimed_on = heartbeat(policy, NOW)
    policy.acknowledged(claimed_on.number, [])
    newest = heartbeat(policy, NOW + INTERVAL)
    at = NOW + INTERVAL + 0.01
    deadline = policy.assigned(1, 1, claimed_on.number)
    assert deadline == NOW + 2 * INTERVAL
    assert view.book.assign(Lease("a", 1, "task-a", 60.0, at, deadline))

    naming = heartbeat(policy, at)
    assert [held.lease_id for held in naming.held_leases] == ["a"]
    policy.acknowledged(newest.number, [])
    renewal = policy.acknowledged(naming.number, [])
    assert renewal is not None
    assert (list(renewal.renewed), renewal.deadline) == (["a"], at + 2 * INTERVAL)


def test_a_lease_that_was_claimed_on_the_newest_heartbeat_waits_for_the_next() -> None:
    view = View()
    policy = policy_of(view)
    newest = heartbeat(policy, NOW)
    deadline = policy.assigned(1, 1, newest.number)
    assert deadline is not None
    assert view.book.assign(Lease("a", 1, "task-a", 60.0, NOW, deadline))
    assert policy.next_message(NOW + INTERVAL - 0.01) is None
    assert policy.wake_at(NOW + INTERVAL - 0.01) == NOW + INTERVAL
    assert [held.lease_id for held in heartbeat(policy, NOW + INTERVAL).held_leases] == ["a"]
