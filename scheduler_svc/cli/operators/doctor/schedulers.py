"""The schedulers themselves: whether they serve, how their lanes stand, who holds locks. Layer: inside doctor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grpc
from contentgen.v1 import system_service_pb2 as pb

from scheduler_svc.cli.operators import cells
from scheduler_svc.cli.operators.connection import Connection
from scheduler_svc.cli.operators.doctor.findings import Finding, fail, ok, warn
from scheduler_svc.client.errors import refusal

_SILENT_AFTER = 60.0
"""Seconds without a word of a replica: it says how it stands each 10 s at least."""
_NOT_FOR_US = frozenset({"ROLE_FORBIDDEN", "ACCOUNT_FORBIDDEN"})


def system_of(connection: Connection) -> pb.GetSystemResponse | None:
    """None where our token may not ask, or the scheduler is of a version that can't tell."""
    try:
        return connection.call(connection.system.GetSystem, pb.GetSystemRequest())
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED or refusal(error).reason in _NOT_FOR_US:
            return None
        raise


def schedulers(system: pb.GetSystemResponse | None) -> Iterator[Finding]:
    """One line where all is well; else a line for each that does not serve, and each lane with items set aside."""
    if system is None:
        return
    here = [it for it in system.replicas if _silent_for(it) < _SILENT_AFTER]
    findings = [*_not_serving(here), *_set_aside(here), *_holders(system.lock_holders)]
    yield from findings
    if not findings:
        yield ok("schedulers", f"{len(here)} of {len(here)} serve, and nothing waits for a lock")


def _silent_for(replica: pb.Replica) -> float:
    return cells.seconds_since(replica.last_heartbeat_time.ToJsonString())


def _not_serving(replicas: Sequence[pb.Replica]) -> Iterator[Finding]:
    for replica in replicas:
        if not replica.serving:
            lanes = ", ".join(f"{lane.name} for {_age(lane)}" for lane in replica.lanes if lane.waiting) or "nothing"
            yield fail(
                "schedulers",
                f"{cells.line(replica.scheduler_id)} does not serve; waiting: {lanes}",
                "look at its log (action stall, lock or store) and at PostgreSQL",
            )


def _set_aside(replicas: Sequence[pb.Replica]) -> Iterator[Finding]:
    for replica in replicas:
        for lane in replica.lanes:
            if lane.set_aside:
                yield warn(
                    "schedulers",
                    f"{lane.set_aside} of the {lane.name} of {cells.line(replica.scheduler_id)} wait for a lock,"
                    f" the oldest for {_age(lane)}",
                    "it goes on by itself once the lock is free",
                )


def _holders(holders: Sequence[pb.LockHolder]) -> Iterator[Finding]:
    for holder in holders:
        who = ", ".join(cells.line(text) for text in (holder.role, holder.application, holder.address) if text)
        age = cells.duration(holder.transaction_age.ToTimedelta().total_seconds())
        what = f" of {cells.line(holder.relation)}" if holder.relation else ""
        yield warn(
            "locks",
            f"session {holder.pid} ({who}) is {holder.state or 'there'}, its transaction open for {age}, and holds a"
            f" lock{what} that others wait for",
            f"let it commit, or end it: SELECT pg_terminate_backend({holder.pid})",
        )


def _age(lane: pb.Lane) -> str:
    return cells.duration(lane.oldest_age.ToTimedelta().total_seconds())
