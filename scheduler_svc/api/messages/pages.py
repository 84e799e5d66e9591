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
from typing import Generic, Protocol, TypeGuard, TypeVar

from google.protobuf.message import Message

from scheduler_svc.api.messages.validation import MAX_NAME, Violations
from scheduler_svc.domain.ids import KEY_MAX

DEFAULT_SIZE = 50
MAX_SIZE = 1_000
MAX_BYTES = 3 * 1024 * 1024
_MAX_TOKEN = 4_000
"""Characters: a position may be a name of 200, each of which JSON may write as twelve."""

Item = TypeVar("Item")
Row = TypeVar("Row", bound=Message)
Position = TypeVar("Position", int, str)


class Paged(Protocol):
    """A request of a list."""

    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Page(Generic[Position]):
    """Which part of a list is asked for: at most `size` items beyond `position`, which is None on the first page."""

    size: int
    position: Position | None
    scope: str

    @classmethod
    def of(cls, request: Paged, bad: Violations, *scope: object) -> Page[int]:
        """Reads size and token of `request`. `scope` is the list's name and its filter, as JSON can hold them."""
        return _read(request, bad, scope, _is_key, DEFAULT_SIZE)

    @classmethod
    def of_names(cls, request: Paged, bad: Violations, *scope: object, default_size: int) -> Page[str]:
        """The same of a list whose positions are names."""
        return _read(request, bad, scope, _is_name, default_size)

    @property
    def limit(self) -> int:
        """How many items to read: one more than the page holds tells whether another page follows."""
        return self.size + 1

    def cut(
        self,
        items: Sequence[Item],
        convert: Callable[[Item], Row],
        position: Callable[[Item], Position],
        rest: Position | None = None,
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


def _read(
    request: Paged,
    bad: Violations,
    scope: tuple[object, ...],
    known: Callable[[object], TypeGuard[Position]],
    default_size: int,
) -> Page[Position]:
    if request.page_size < 0:
        bad.add("page_size", f"must be 0 (the default, {default_size:,}) or more, is {request.page_size}")
    fingerprint = hashlib.blake2b(json.dumps(scope).encode(), digest_size=9).hexdigest()
    position = None
    if request.page_token:
        said = _position(request.page_token, fingerprint)
        position = said if known(said) else None
        if position is None:
            bad.add("page_token", "must be the next_page_token of a page of this list with the same filter")
    size = min(request.page_size, MAX_SIZE) if request.page_size > 0 else default_size
    return Page(size, position, fingerprint)


def _token(position: int | str, fingerprint: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([position, fingerprint]).encode()).decode()


def _position(token: str, fingerprint: str) -> object:
    """What a token says; None where it is none of this list."""
    if len(token) > _MAX_TOKEN:
        return None
    try:
        position, scope = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, TypeError):
        return None
    return position if scope == fingerprint else None


def _is_key(position: object) -> TypeGuard[int]:
    return type(position) is int and 0 < position <= KEY_MAX


def _is_name(position: object) -> TypeGuard[str]:
    return type(position) is str and 0 < len(position) <= MAX_NAME and "\0" not in position and _is_unicode(position)


def _is_unicode(text: str) -> bool:
    """Whether it holds no half of a pair, as JSON can, and the database can't."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
