"""What a transaction has to tell once it is committed: to this replica at once, to the others by NOTIFY.

All of it is a hint: what matters is a row, and whoever missed a signal reads the rows a little later.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(slots=True)
class Signals:
    """Collected while a transaction runs."""

    ready: bool = False
    due: bool = False
    ended: list[int] = field(default_factory=list)
    cancelled: list[tuple[str, str, str]] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    limits: bool = False
    """Accounts got a limit, or lost it."""
    admit: set[int] = field(default_factory=set)
    """Accounts whose waiting tasks may have to be let in. This replica does it: the others are not told."""
    released: set[int] = field(default_factory=set)
    """Accounts of which leases ended: where they have a limit, the same."""

    def __bool__(self) -> bool:
        return bool(self._for_others or self.admit or self.released)

    @property
    def _for_others(self) -> bool:
        return bool(self.ready or self.due or self.ended or self.cancelled or self.drained or self.limits)

    def payloads(self, origin: str) -> list[str]:
        """What others may want to know, as texts of less than 8,000 bytes for NOTIFY; `origin` names the replica."""
        if not self._for_others:
            return []
        head = {"from": origin, "ready": self.ready, "due": self.due, "limits": self.limits}
        parts = max(1, -(-len(self.ended) // _ENDED_A_TEXT), -(-len(self.cancelled) // _COMMANDS_A_TEXT))
        parts = max(parts, -(-len(self.drained) // _COMMANDS_A_TEXT))
        return [
            json.dumps(
                head
                | {
                    "ended": self.ended[i * _ENDED_A_TEXT : (i + 1) * _ENDED_A_TEXT],
                    "cancelled": self.cancelled[i * _COMMANDS_A_TEXT : (i + 1) * _COMMANDS_A_TEXT],
                    "drained": self.drained[i * _COMMANDS_A_TEXT : (i + 1) * _COMMANDS_A_TEXT],
                },
                separators=(",", ":"),
                ensure_ascii=False,
            )
            for i in range(parts)
        ]


# A worker's id may hold 200 characters: 1,200 bytes where each is a control character.
_ENDED_A_TEXT = 100
_COMMANDS_A_TEXT = 2


def parse(payload: str) -> tuple[str, Signals]:
    """The origin and the signals of a notification."""
    told = json.loads(payload)
    cancelled = [(worker_id, lease_id, reason) for worker_id, lease_id, reason in told["cancelled"]]
    return told["from"], Signals(
        told["ready"], told["due"], told["ended"], cancelled, told["drained"], told.get("limits", False)
    )
