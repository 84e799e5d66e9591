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
    moved: bool = False
    """Some task moved: told only where somebody watches, and no reason to tell anything by itself."""
    watching: bool = False
    """This replica has watchers, and wants to be told of moves."""

    def __bool__(self) -> bool:
        return bool(self.ready or self.due or self.ended or self.cancelled or self.drained or self.watching)

    def payloads(self, origin: str) -> list[str]:
        """The signals as texts of less than 8,000 bytes, as NOTIFY takes them; `origin` names the replica."""
        head = {"from": origin, "ready": self.ready, "due": self.due, "moved": self.moved, "watching": self.watching}
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
    moved = told.get("moved", True)  # a replica of the version before does not say
    watching = told.get("watching", False)
    return told["from"], Signals(told["ready"], told["due"], told["ended"], cancelled, told["drained"], moved, watching)
