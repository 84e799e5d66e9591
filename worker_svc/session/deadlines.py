"""The deadline rule: until when a worker may run what it was leased, however long it hears nothing.

Layer: pure, inside session. Times are seconds of CLOCK_BOOTTIME, which goes on while the machine is suspended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

MAX_TIME_TO_STOP = 10.0
"""Seconds: with the default lease time, what is left after TERM and KILL is ample."""


MAX_GRACE = 3.0
"""Seconds that a CLI gets to end by itself."""


def time_to_stop(lease_ttl: float) -> float:
    """How long before a lease may run out elsewhere its CLI is told to stop: a third of its time, 10 s at most."""
    return min(lease_ttl / 3, MAX_TIME_TO_STOP)


def grace(lease_ttl: float) -> float:
    """Seconds between TERM and KILL: half of the time to stop, so that KILL has the other half; 3 s at most."""
    return min(time_to_stop(lease_ttl) / 2, MAX_GRACE)


def deadline(built_at: float, lease_ttl: float) -> float:
    """The deadline of a lease whose grant or renewal rests on a state that was built at `built_at`.

    The scheduler counts from the start of a transaction that came after that, so this is always the earlier one.
    """
    return built_at + lease_ttl - time_to_stop(lease_ttl)


@dataclass(frozen=True, slots=True)
class Renewal:
    """What the acknowledgement of a state came to."""

    deadline: float
    renewed: Collection[str]


@dataclass(frozen=True, slots=True)
class _SentHeartbeat:
    at: float
    named: Collection[str]


class HeartbeatLog:
    """When each state of one stream was built and which leases it named, for as long as that can matter."""

    def __init__(self, lease_ttl: float) -> None:
        self._lease_ttl = lease_ttl
        self._heartbeats: dict[int, _SentHeartbeat] = {}
        self._newest = 0
        self._newest_acknowledged = 0

    @property
    def awaits_ack(self) -> bool:
        """Whether the newest state is not acknowledged yet. Older ones may be passed over for it."""
        return self._newest_acknowledged < self._newest

    def sent(self, number: int, named: Collection[str], now: float) -> None:
        """State `number` is about to be sent. Those that give no time any more are forgotten."""
        for old in [n for n, state in self._heartbeats.items() if deadline(state.at, self._lease_ttl) <= now]:
            del self._heartbeats[old]
        self._heartbeats[number] = _SentHeartbeat(now, named)
        self._newest = number

    def grant_deadline(self, heartbeat_number: int) -> float | None:
        """The deadline of leases that were claimed on that state; None where it is too old to give any time."""
        state = self._heartbeats.get(heartbeat_number)
        return None if state is None else deadline(state.at, self._lease_ttl)

    def acknowledged(self, number: int, not_renewed: Iterable[str]) -> Renewal | None:
        """State `number` is committed: what it named is renewed from when it was built, but for `not_renewed`.

        None where that state is too old to renew anything, or was never sent.
        """
        self._newest_acknowledged = max(self._newest_acknowledged, number)
        state = self._heartbeats.get(number)
        if state is None:
            return None
        lost = frozenset(not_renewed)
        renewed = [lease_id for lease_id in state.named if lease_id not in lost]
        self._heartbeats[number] = _SentHeartbeat(state.at, ())  # its time may still be asked for by an assignment
        return Renewal(deadline(state.at, self._lease_ttl), renewed)
