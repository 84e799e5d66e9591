"""What a transaction has to tell once it is committed: to this replica at once, to the others by the notifier.

All of it is a hint: what matters is a row, and whoever missed a signal reads the rows a little later.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from scheduler_svc.domain.ids import LeaseRef
from scheduler_svc.domain.lifecycle import Status


class StoppedAttempt(NamedTuple):
    """An attempt that ended without a result, why, and the status that its task has now."""

    ref: LeaseRef
    worker_id: str
    reason: str
    status: Status


@dataclass(slots=True)
class CommitSignals:
    """Collected while a transaction runs. What is for one worker, or about one, names it first."""

    ready: bool = False
    due: bool = False
    ended: list[int] = field(default_factory=list)
    cancelled: list[tuple[str, str, str]] = field(default_factory=list)
    drained: list[str] = field(default_factory=list)
    resized: list[tuple[str, int]] = field(default_factory=list)
    polled: list[tuple[str, int]] = field(default_factory=list)
    answered: list[tuple[str, int]] = field(default_factory=list)
    moved: bool = False
    """Some task moved: told only where somebody watches, and no reason to tell anything by itself."""
    watching: bool = False
    """This replica has watchers, and wants to be told of moves."""
    limits: bool = False
    """Accounts got a limit, or lost it."""
    admit: set[int] = field(default_factory=set)
    """Accounts whose waiting tasks may have to be let in. This replica does it: the others are not told."""
    admit_later: dict[int, float] = field(default_factory=dict)
    """The same, in so many seconds: a minute after attempts of an account started, as many may start again."""
    released: set[int] = field(default_factory=set)
    """Accounts of which leases ended: where they have a limit, the same."""
    stopped: list[StoppedAttempt] = field(default_factory=list)
    """For this replica's log; those that were given back before their CLI had started are no news."""
    missed: bool = False
    """Some signals were dropped before they were told: who hears this looks at all rows anew."""

    @classmethod
    def reread_all(cls) -> CommitSignals:
        """Stands for signals that were dropped. A replica of the version before follows the other flags."""
        return cls(ready=True, due=True, moved=True, limits=True, missed=True)

    def __bool__(self) -> bool:
        return self.for_others or bool(self.admit or self.admit_later or self.released or self.stopped)

    @property
    def for_others(self) -> bool:
        """Whether other replicas want to know, whether they watch or not."""
        lists = any(getattr(self, kind) for kind in _LISTS)
        return bool(self.ready or self.due or lists or self.watching or self.limits)

    @property
    def items(self) -> int:
        """How many items the lists hold that others want to know."""
        return sum(len(getattr(self, kind)) for kind in _LISTS)

    def add(self, later: CommitSignals) -> None:
        """Adds what others want to know of a later transaction."""
        for flag in _FLAGS:
            if getattr(later, flag):
                setattr(self, flag, True)
        for kind in _LISTS:
            getattr(self, kind).extend(getattr(later, kind))

    def payloads(self, origin: str) -> list[str]:
        """What others may want to know, as few texts of less than 8,000 bytes; `origin` names the replica."""
        head = {"from": origin} | {name: getattr(self, name) for name in _FLAGS} | dict.fromkeys(_LISTS, ())
        items = [(kind, item) for kind in _LISTS for item in getattr(self, kind)]
        return [json.dumps(head | part, separators=(",", ":"), ensure_ascii=False) for part in _packed(items) or [{}]]


_FLAGS = ("ready", "due", "moved", "watching", "limits", "missed")
_LISTS = ("ended", "cancelled", "drained", "resized", "polled", "answered")
_BYTES_A_TEXT = 7_000
"""For the items alone. One has less than 1,400 bytes: a worker's id of 200 control characters takes 1,200."""
_BYTES_A_NUMBER = 20


def _packed(items: Iterable[tuple[str, object]]) -> list[dict[str, list[object]]]:
    """The items by their lists, each part as large as a text may be."""
    parts: list[dict[str, list[object]]] = []
    left = 0
    for kind, item in items:
        own = _BYTES_A_NUMBER if isinstance(item, int) else len(json.dumps(item, ensure_ascii=False).encode())
        if own > left:
            parts.append({})
            left = _BYTES_A_TEXT
        parts[-1].setdefault(kind, []).append(item)
        left -= own
    return parts


def parse(payload: str) -> tuple[str, CommitSignals]:
    """The origin and the signals of a notification."""
    told = json.loads(payload)
    told.setdefault("moved", True)  # a replica of the version before does not say
    said: dict[str, Any] = {name: told.get(name, False) for name in _FLAGS}
    for kind in _LISTS:
        said[kind] = [tuple(it) if isinstance(it, list) else it for it in told.get(kind, ())]
    return told["from"], CommitSignals(**said)
