"""The deadline rule: how long a worker may run a lease without an acknowledged heartbeat.

Pure; times are seconds of CLOCK_BOOTTIME, which also counts suspension.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

MAX_TIME_TO_STOP = 10.0  # seconds of a lease that are reserved for TERM and KILL, at most
MAX_GRACE = 3.0  # seconds between TERM and KILL, at most


def time_to_stop(lease_ttl: float) -> float:
    """Returns the seconds before a lease's expiry at which its CLI has to stop: a third of its time, 10 s at most."""
    return min(lease_ttl / 3, MAX_TIME_TO_STOP)


def grace(lease_ttl: float) -> float:
    """Returns the seconds between TERM and KILL: half of the time to stop, 3 s at most. KILL has the other half."""
    return min(time_to_stop(lease_ttl) / 2, MAX_GRACE)


def deadline(built_at: float, lease_ttl: float) -> float:
    """Returns the deadline of a lease that was granted or renewed on a heartbeat built at `built_at`.

    The scheduler counts from the start of a later transaction, so the worker's deadline always comes first.
    """
    return built_at + lease_ttl - time_to_stop(lease_ttl)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What the acknowledgement of a heartbeat renewed, and until when."""

    deadline: float
    renewed: Collection[str]


@dataclass(frozen=True, slots=True)
class _SentHeartbeat:
    at: float
    named: Collection[str]


class HeartbeatLog:
    """When each heartbeat of one stream was built and which leases it named, as long as that matters."""

    def __init__(self, lease_ttl: float) -> None:
        self._lease_ttl = lease_ttl
        self._heartbeats: dict[int, _SentHeartbeat] = {}
        self._newest = 0
        self._newest_acknowledged = 0

    @property
    def awaits_ack(self) -> bool:
        """Whether the newest heartbeat is not acknowledged yet. Older ones may never be."""
        return self._newest_acknowledged < self._newest

    def sent(self, number: int, named: Collection[str], now: float) -> None:
        """Records a heartbeat that is about to be sent, and forgets those that are too old to matter."""
        for old in [n for n, heartbeat in self._heartbeats.items() if deadline(heartbeat.at, self._lease_ttl) <= now]:
            del self._heartbeats[old]
        self._heartbeats[number] = _SentHeartbeat(now, named)
        self._newest = number

    def built_at(self, number: int) -> float | None:
        """Returns when a heartbeat was built; None if it is too old to grant or renew anything."""
        heartbeat = self._heartbeats.get(number)
        return None if heartbeat is None else heartbeat.at

    def grant_deadline(self, heartbeat_number: int) -> float | None:
        """Returns the deadline of leases that were claimed on a heartbeat; None if it is too old."""
        built_at = self.built_at(heartbeat_number)
        return None if built_at is None else deadline(built_at, self._lease_ttl)

    def acknowledged(self, number: int, not_renewed: Iterable[str]) -> Renewal | None:
        """Renews the leases that a committed heartbeat named, except `not_renewed`, from when it was built.

        Returns None if that heartbeat is too old to renew anything, or was never sent.
        """
        self._newest_acknowledged = max(self._newest_acknowledged, number)
        heartbeat = self._heartbeats.get(number)
        if heartbeat is None:
            return None
        lost_ids = frozenset(not_renewed)
        renewed = [lease_id for lease_id in heartbeat.named if lease_id not in lost_ids]
        self._heartbeats[number] = _SentHeartbeat(heartbeat.at, ())  # an assignment may still name it
        return Renewal(deadline(heartbeat.at, self._lease_ttl), renewed)
