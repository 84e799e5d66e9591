"""Pages of the lists: sizes, tokens, and where a page ends. Part of `api`.

A token holds the position after which the next page begins, and a fingerprint of the list and its filter. It is
opaque to clients, but no secret: a forged position shows nothing that the list itself would not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from scheduler_svc.api.validation import Violations
from scheduler_svc.domain.ids import KEY_MAX

DEFAULT_SIZE = 50
MAX_SIZE = 1_000
MAX_BYTES = 3 * 1024 * 1024
_LONGEST_TOKEN = 200

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Message)


class Paged(Protocol):
    """A request of a list."""

    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: at most `size` items beyond `position`, which is None on the first page."""

    size: int
    position: int | None
    scope: str

    @classmethod
    def of(cls, request: Paged, bad: Violations, *scope: object) -> Page:
        """Reads size and token of `request`. `scope` is the list's name and its filter, as JSON can hold them."""
        if request.page_size < 0:
            bad.add("page_size", f"must be 0 (the default, {DEFAULT_SIZE}) or more, is {request.page_size}")
        fingerprint = hashlib.blake2b(json.dumps(scope).encode(), digest_size=9).hexdigest()
        position = None
        if request.page_token:
            position = _position(request.page_token, fingerprint)
            if position is None:
                bad.add("page_token", "must be the next_page_token of a page of this list with the same filter")
        return cls(min(request.page_size or DEFAULT_SIZE, MAX_SIZE), position, fingerprint)

    @property
    def limit(self) -> int:
        """How many items to read: one more than the page holds tells whether another page follows."""
        return self.size + 1

    def cut(
        self,
        items: Sequence[Item],
        convert: Callable[[Item], Row],
        position: Callable[[Item], int],
        rest: int | None = None,
    ) -> tuple[list[Row], str]:
        """The page's messages, and the token of the next page, which is empty at the end.

        `items` are at most `limit`; `rest` is the position from which on nobody has looked for more, None where that is
        not so. The page ends early rather than hold more than 3 MiB, but not without one of its items.
        """
        rows: list[Row] = []
        held = 0
        for item in items[: self.size]:
            row = convert(item)
            held += row.ByteSize()
            if rows and held > MAX_BYTES:
                break
            rows.append(row)
        if len(rows) < len(items):
            rest = position(items[len(rows) - 1])
        return rows, "" if rest is None else _token(rest, self.scope)


def _token(position: int, fingerprint: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, fingerprint]).encode()).decode()


def _position(token: str, fingerprint: str) -> int | None:
    """What a token says, or None where it is none of ours for this list."""
    if len(token) > _LONGEST_TOKEN:
        return None
    try:
        position, scope = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        return None
    if type(position) is not int or not 0 < position <= KEY_MAX or scope != fingerprint:
        return None
    return position
