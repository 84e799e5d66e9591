"""What a transaction has to tell once it is committed: to this replica at once, to the others by NOTIFY.

All of it is a hint: what matters is a row, and whoever missed a signal reads the rows a little later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Signals:
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

    def __bool__(self) -> bool:
        lists = any(getattr(self, kind) for kind in _LISTS)
        return bool(self.ready or self.due or lists or self.watching)

    def payloads(self, origin: str) -> list[str]:
        """The signals as texts of less than 8,000 bytes, as NOTIFY takes them; `origin` names the replica."""
        head = {"from": origin} | {name: getattr(self, name) for name in _FLAGS} | dict.fromkeys(_LISTS, ())
        parts: list[dict[str, Sequence[object]]] = [
            {"ended": self.ended[i : i + _ENDED_A_TEXT]} for i in range(0, len(self.ended), _ENDED_A_TEXT)
        ]
        parts += [{kind: part} for kind in _OF_WORKERS for part in _packed(getattr(self, kind))]
        return [json.dumps(head | part, separators=(",", ":"), ensure_ascii=False) for part in parts or [{}]]


_FLAGS = ("ready", "due", "moved", "watching")
_OF_WORKERS = ("cancelled", "drained", "resized", "polled", "answered")
_LISTS = ("ended", *_OF_WORKERS)
_ENDED_A_TEXT = 100
_BYTES_A_TEXT = 7_000
"""For the items alone. One has less than 1,400 bytes: a worker's id of 200 control characters takes 1,200."""


def _packed(items: Sequence[object]) -> Iterator[list[object]]:
    part: list[object] = []
    size = 0
    for item in items:
        own = len(json.dumps(item, ensure_ascii=False).encode())
        if part and size + own > _BYTES_A_TEXT:
            yield part
            part, size = [], 0
        part.append(item)
        size += own
    if part:
        yield part


def parse(payload: str) -> tuple[str, Signals]:
    """The origin and the signals of a notification."""
    told = json.loads(payload)
    items: dict[str, Any] = {
        kind: [tuple(it) if isinstance(it, list) else it for it in told.get(kind, ())] for kind in _LISTS
    }
    moved = told.get("moved", True)  # a replica of the version before does not say
    return told["from"], Signals(told["ready"], told["due"], moved=moved, watching=told.get("watching", False), **items)
