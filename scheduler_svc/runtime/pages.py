"""Pages of lists: sizes, tokens, and where a page ends.

A token holds the position after which a list or a watch goes on, and a fingerprint of its filter. It is opaque to
clients but not secret: a forged position shows nothing that the list or watch does not show.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeGuard, TypeVar

from google.protobuf.message import Message

from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.domain.task import MAX_PRIORITY, MIN_PRIORITY
from scheduler_svc.runtime.validation import MAX_NAME, Violations


def fingerprint_of(selection: object) -> str:
    """Returns a short text for a selection in types that JSON has: a token is good for the one that it was made for."""
    return hashlib.blake2b(json.dumps(selection).encode(), digest_size=9).hexdigest()


def write_token(*parts: object) -> str:
    """Returns the token with these parts, in types that JSON has."""
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode()


def read_token(token: str, *, parts: int, limit: int) -> list[object] | None:
    """Returns the parts of a token, or None if it has more than `limit` characters, or is no token of so many parts."""
    if len(token) > limit:
        return None
    try:
        document = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):  # RecursionError: it is nested a thousand deep
        return None
    return document if isinstance(document, list) and len(document) == parts else None


DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1_000
MAX_PAGE_BYTES = 3 * 1024 * 1024
_MAX_TOKEN = 4_000
"""Characters: a position may be a name of 200 characters, and JSON may need twelve for one."""

Item = TypeVar("Item")
Entry = TypeVar("Entry", bound=Message)
Position = TypeVar("Position", int, str, list[int])


class ListRequest(Protocol):
    @property
    def page_size(self) -> int: ...
    @property
    def page_token(self) -> str: ...


@dataclass(frozen=True, slots=True)
class PageRequest(Generic[Position]):
    """The requested part of a list: at most `size` items after `position`, which is None for the first page."""

    size: int
    position: Position | None
    fingerprint: str

    @classmethod
    def of(cls, request: ListRequest, bad: Violations, *selection: object) -> PageRequest[int]:
        """Reads size and token of `request`; `selection` is the list's name and filter, in types that JSON has."""
        return _read(request, bad, selection, _is_key, DEFAULT_PAGE_SIZE)

    @classmethod
    def of_names(cls, request: ListRequest, bad: Violations, *selection: object, default_size: int) -> PageRequest[str]:
        return _read(request, bad, selection, _is_name, default_size)

    @classmethod
    def of_places(cls, request: ListRequest, bad: Violations, *selection: object) -> PageRequest[list[int]]:
        """Returns the same for a list in the order of a priority and a key, which are a position together."""
        return _read(request, bad, selection, _is_place, DEFAULT_PAGE_SIZE)

    @property
    def limit(self) -> int:
        """How many items to read: one more than the page, to see whether another page follows."""
        return self.size + 1

    def cut(
        self,
        items: Sequence[Item],
        convert: Callable[[Item], Entry],
        position: Callable[[Item], Position],
        rest: Position | None = None,
    ) -> tuple[list[Entry], str]:
        """Returns the page's messages, and the token of the next page, which is empty at the end.

        `items` are at most `limit`; `rest` is the position at which the search stopped early, else None. The page ends
        before it exceeds 3 MiB, but has at least one item.
        """
        entries: list[Entry] = []
        size = 0
        for item in items[: self.size]:
            entry = convert(item)
            size += entry.ByteSize()
            if entries and size > MAX_PAGE_BYTES:
                break
            entries.append(entry)
        if len(entries) < len(items):
            rest = position(items[len(entries) - 1])
        return entries, "" if rest is None else write_token(rest, self.fingerprint)


def _read(
    request: ListRequest,
    violations: Violations,
    selection: tuple[object, ...],
    is_position: Callable[[object], TypeGuard[Position]],
    default_size: int,
) -> PageRequest[Position]:
    if request.page_size < 0:
        violations.add("page_size", f"must be 0 (the default, {default_size:,}) or more, is {request.page_size}")
    fingerprint = fingerprint_of(selection)
    position = None
    if request.page_token:
        value = _position(request.page_token, fingerprint)
        position = value if is_position(value) else None
        if position is None:
            violations.add("page_token", "must be a next_page_token of this list with the same filter")
    size = min(request.page_size, MAX_PAGE_SIZE) if request.page_size > 0 else default_size
    return PageRequest(size, position, fingerprint)


def selection(request: Message, **first: object) -> tuple[object, ...]:
    """Returns all of a list's request but its page: a token of another selection is refused.

    `first` are the fields that the list had in its first version, as that wrote them: a request that has no others goes
    on with its tokens beside schedulers of that version.
    """
    rest = type(request)()
    rest.CopyFrom(request)
    for field in ("page_size", "page_token", *first):
        rest.ClearField(field)
    return (
        (*first.values(), rest.SerializeToString(deterministic=True).hex()) if rest.ByteSize() else (*first.values(),)
    )


def _position(token: str, fingerprint: str) -> object:
    """Returns the position in a token, or None if it is not a token of this list and filter."""
    position, token_fingerprint = read_token(token, parts=2, limit=_MAX_TOKEN) or (None, None)
    return position if token_fingerprint == fingerprint else None


def _is_key(position: object) -> TypeGuard[int]:
    return type(position) is int and 0 < position <= KEY_MAX


def _is_place(position: object) -> TypeGuard[list[int]]:
    if type(position) is not list or len(position) != 2:
        return False
    priority, key = position
    return type(priority) is int and MIN_PRIORITY <= priority <= MAX_PRIORITY and _is_key(key)


def _is_name(position: object) -> TypeGuard[str]:
    return type(position) is str and 0 < len(position) <= MAX_NAME and "\0" not in position and _is_unicode(position)


def _is_unicode(text: str) -> bool:
    """Returns whether it has no lone surrogates, which JSON can hold and the database can't."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
