"""The schedulers themselves: whether they serve, how their lanes stand, who holds locks. Layer: inside doctor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from contentgen.cli import cells
from contentgen.cli.connection import Connection
from contentgen.cli.doctor.findings import Finding, fail, ok, warn
from contentgen.client.documents import seconds
from contentgen.client.errors import RequestError
from contentgen.v1 import system_service_pb2 as pb

_SILENT_AFTER, _FORGOTTEN_AFTER = 25.0, 300.0
"""Seconds without a word of a replica: it says how it stands each 10 s at least. Later it may be gone on purpose."""
_NOT_FOR_US = frozenset({"ROLE_FORBIDDEN", "ACCOUNT_FORBIDDEN"})


def system_of(connection: Connection) -> pb.GetSystemResponse | None:
    """None if the token may not make the call, or the version of the scheduler lacks it."""
    try:
        return connection.call(connection.stubs.system.GetSystem, pb.GetSystemRequest())
    except RequestError as error:
        if error.code == "UNIMPLEMENTED" or error.reason in _NOT_FOR_US:
            return None
        raise


def schedulers(system: pb.GetSystemResponse | None) -> Iterator[Finding]:
    """One line where all is well, with the age of what waits longest.

    Else a line for each that does not serve, each that has fallen silent, each lane with items set aside, and each
    session that holds locks.
    """
    if system is None:
        return
    here = _here(system)
    findings = [*_not_serving(here), *_silent(system), *_set_aside(here), *_holders(system.lock_holders)]
    yield from findings
    if not findings:
        lanes = [lane for it in here for lane in it.lanes]
        oldest = max(lanes, key=lambda lane: seconds(lane.oldest_age), default=None)
        waits = oldest is not None and seconds(oldest.oldest_age) >= 0.1
        waiting = f"the oldest of the {oldest.name} waits for {_age(oldest)}" if oldest and waits else "nothing waits"
        yield ok("schedulers", f"{len(here)} of {len(here)} serve, and {waiting}")


def versions(system: pb.GetSystemResponse | None) -> set[str]:
    """Of those that are there; empty where they don't tell."""
    return {it.version for it in _here(system)} - {""} if system else set()


def _here(system: pb.GetSystemResponse) -> list[pb.Replica]:
    """Those that said lately how they stand."""
    return [replica for replica, silence in _silences(system) if silence < _SILENT_AFTER]


def _silences(system: pb.GetSystemResponse) -> Iterator[tuple[pb.Replica, float]]:
    """Each replica, and for how many seconds it has said nothing; the one that answers says how it stands now."""
    now = max((it.last_heartbeat_time.ToNanoseconds() for it in system.replicas), default=0)
    for replica in system.replicas:
        yield replica, (now - replica.last_heartbeat_time.ToNanoseconds()) / 1e9


def _silent(system: pb.GetSystemResponse) -> Iterator[Finding]:
    """Those in whose place no other has started since."""
    starts = [it.start_time.ToNanoseconds() for it in _here(system)]
    for replica, silence in _silences(system):
        if _SILENT_AFTER <= silence < _FORGOTTEN_AFTER:
            later = [start for start in starts if start > replica.last_heartbeat_time.ToNanoseconds()]
            if later:
                starts.remove(later[0])
                continue
            yield warn(
                "schedulers",
                f"{cells.line(replica.scheduler_id)} has said nothing for {cells.duration(silence)}: it was killed, is"
                " frozen, or does not reach the database",
                "start it again",
            )


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
        age = cells.duration(seconds(holder.transaction_age))
        what = f" of {cells.line(holder.relation)}" if holder.relation else ""
        held = f"holds a lock{what} that others wait for" if holder.waited_for else f"has locked rows{what}, or all"
        yield warn(
            "locks",
            f"session {holder.pid} ({who}) is {holder.state or 'there'}, its transaction open for {age}, and {held}",
            f"let it commit, or end it: SELECT pg_terminate_backend({holder.pid})",
        )


def _age(lane: pb.Lane) -> str:
    return cells.duration(seconds(lane.oldest_age))
