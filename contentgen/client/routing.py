"""Which cell a call is for: metadata, by which a proxy before several deployments sends each call to its own.

A request names an account, or something whose id tells the cell in which it was made. A proxy knows of accounts that
have moved since. Layer: client, below the transports.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any

from google.protobuf.descriptor import Descriptor

from contentgen.rpcs import METHODS, Accounts, accounts_of

ACCOUNT, CELL = "contentgen-account", "contentgen-cell"
"""The metadata."""
_IDS = {"task_id", "task_ids", "content_id", "schedule_id", "webhook_id", "delivery_id", "channel_id"}
_WITH_IDS = {"task", "content", "entry", "schedule", "webhook", "channel", "filter", "requests"}
_RPCS = {method.input_type.full_name: name for name, method in METHODS.items()}
_TASK_ID = re.compile(r"task-([0-9a-f]{16})")

Ids = Callable[[Any], Any]


def route(request: Any, account_id: int = 0) -> tuple[tuple[str, str], ...]:
    """Returns the metadata of a call; empty if its request names nothing that is of one cell.

    `account_id`: whom the call is about if its request does not say.
    """
    accounts, ids = _readers(request.__class__)
    account = max(accounts(request), default=0) if accounts else 0
    made = account or next(filter(None, (read(request) for read in ids)), account_id)
    return _metadata(account or account_id, made)


@lru_cache(1_024)
def _metadata(account: int, made: int | str) -> tuple[tuple[str, str], ...]:
    """`made`: the id of something of the cell."""
    named = ((ACCOUNT, str(account)),) if account > 0 else ()
    cell = cell_of(made)
    return named if cell is None else (*named, (CELL, str(cell)))


def cell_of(made: int | str) -> int | None:
    """Returns the cell that has made an id. Returns None if this is no id."""
    if isinstance(made, int):
        return made >> 43 if made > 0 else None
    match = _TASK_ID.fullmatch(made)
    if match is None:
        return None
    key = int(match[1], 16)
    return key >> 9 & 1_023 if key >> 19 & 1 else 0


@cache
def _readers(kind: type) -> tuple[Accounts | None, tuple[Ids, ...]]:
    """Returns what reads the accounts that a request of a kind names, and its other ids."""
    descriptor = getattr(kind, "DESCRIPTOR", None)
    if descriptor is None or descriptor.full_name not in _RPCS:
        return None, ()
    return accounts_of(_RPCS[descriptor.full_name]), tuple(_ids(descriptor))


def _ids(descriptor: Descriptor) -> Iterator[Ids]:
    for field in descriptor.fields:
        if field.name in _IDS:
            yield _reader(field.name, field.is_repeated)
        elif field.name in _WITH_IDS and field.message_type:
            yield from (_inner(_reader(field.name, field.is_repeated), read) for read in _ids(field.message_type))


def _reader(name: str, repeated: bool) -> Ids:
    """Of several, the first counts: a call goes to one cell."""
    return lambda request: next(iter(getattr(request, name)), None) if repeated else getattr(request, name)


def _inner(outer: Ids, read: Ids) -> Ids:
    return lambda request: (part := outer(request)) and read(part)
