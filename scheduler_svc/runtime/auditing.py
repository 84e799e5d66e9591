"""Which calls the audit records, and what their events tell.

Those of every RPC that may change something, but the workers'. An event names accounts and ids, and what an update has
changed, but no text of a request or a response.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from itertools import islice
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import structlog
from google.protobuf.message import Message

from contentgen.rpcs import RPCS, Change, path_of
from scheduler_svc.domain.account import ANONYMOUS, CallerIdentity
from scheduler_svc.domain.audit import OK, AuditedCall
from scheduler_svc.domain.errors import DomainError
from scheduler_svc.domain.ids import parse_task_id
from scheduler_svc.runtime.differences import differences, value
from scheduler_svc.runtime.errors import INTERNAL

MAX_WAIT = 1.0
"""Seconds that a call waits for its event to be committed."""
MAX_ACCOUNTS = 20
"""Events of one call, each of another account; a further one is about the others."""
MAX_REFUSALS = 1_000
"""Refused calls of one caller that are recorded in a minute."""
MAX_UNAUTHENTICATED = 60
"""Calls without a valid token that are recorded in a minute."""
_CANCELLED = "CANCELLED"
_ID = re.compile(r"[\w.:@/-]{1,100}", re.ASCII)

_log = structlog.get_logger(__name__)
_concerned: ContextVar[int] = ContextVar("account of the audited call", default=0)
_counted: ContextVar[Mapping[int, int]] = ContextVar("resources of the audited call", default=MappingProxyType({}))

_replaced: ContextVar[Message | None] = ContextVar("resource before the audited call", default=None)


def concerns(account_id: int) -> None:
    """Says which account the running call is about, if neither its request nor its response does."""
    _concerned.set(account_id)


def replaces(resource: Message) -> None:
    """Says what the running update is going to change, as it is now."""
    _replaced.set(resource)


def counts_resources(account_ids: Iterable[int]) -> None:
    """Says whose resources the running call is about, one for each of them: it saves reading each message."""
    _counted.set(Counter(account_ids))


class Audited:
    def __init__(self, name: str, change: Change, auditor: Auditor) -> None:
        self.name = name
        self._change = change
        self._auditor = auditor
        self._named = attrgetter(change.named) if change.named else None
        self._made = attrgetter(change.made) if change.made else None
        self._id = f"{change.kind}_id"
        self._otherwise = change.otherwise

    def answered(self, identity: CallerIdentity, request: Any, response: Any) -> Awaitable[object] | None:
        """Records a call that succeeded. What it returns waits until that is committed, a second at most."""
        about = self._about(request, response)
        if self._change.claims and not about[0][1]:
            return None
        changes = self._changes(request, response)
        stored = self._auditor.add(identity, self.name, about, OK, changes, awaited=self._change.awaited)
        return stored and asyncio.wait([stored], timeout=MAX_WAIT)

    def refused(self, identity: CallerIdentity, request: Any, error: BaseException) -> None:
        """Records a call that failed; `request` None: nothing is known of it."""
        if self._auditor.admits(identity.name, MAX_REFUSALS):
            about = [(0, "")] if request is None else self._about(request, None)
            self._auditor.add(identity, self.name, about, outcome(error), awaited=False)

    def _changes(self, request: Any, response: Any) -> str:
        """Returns what the call has changed, as far as it is told."""
        if self._change.tells:
            return f"{self._change.tells}: {value(request, self._change.tells)}"
        before = _replaced.get()
        if before is None or self._made is None:
            return ""
        return differences(before, self._made(response), request.update_mask.paths)

    def _about(self, request: Any, response: Any) -> list[tuple[int, str]]:
        """Returns the accounts that the call was about, and what of each."""
        made = None if response is None or self._made is None else self._made(response)
        named = None if self._named is None else self._named(request)
        if self._change.several:
            return self._several(request, made or named or ())
        name = named or getattr(made, self._id, 0)
        if self._otherwise and not name:
            kind, path = self._otherwise
            name = getattr(request, path)
            return [(self._account(request, made), f"{kind}:{name}" if name else "")]
        return [(self._account(request, made), self._resource(name, exists=made is not None))]

    def _several(self, request: Any, resources: Sequence[Any]) -> list[tuple[int, str]]:
        if not resources:
            return [(self._account(request, None), "")]
        counts = _counted.get() or Counter(getattr(resource, "account_id", 0) for resource in resources)
        shown = dict(islice(counts.items(), MAX_ACCOUNTS))
        if others := sum(counts.values()) - sum(shown.values()):
            shown[0] = shown.get(0, 0) + others
        first: dict[int, Any] = {}
        for resource in resources:
            account_id = getattr(resource, "account_id", 0)
            first.setdefault(account_id if account_id in shown else 0, resource)
            if len(first) == len(shown):
                break
        return [
            (account_id, self._resource(getattr(first[account_id], self._id, 0), more=count - 1))
            for account_id, count in shown.items()
        ]

    def _account(self, request: Any, resource: Any) -> int:
        account_id: int = getattr(resource, "account_id", 0) or getattr(request, "account_id", 0)
        if not account_id and self._change.kind == "account" and self._named is not None:
            account_id = self._named(request)
        return max(0, account_id)

    def _resource(self, name: int | str | None, *, exists: bool = False, more: int = 0) -> str:
        """Returns a resource's name. A text that may be no id is not repeated: it may be anything, even a token."""
        if not name:
            return ""
        kind = self._change.kind
        if isinstance(name, str) and not (parse_task_id(name) if kind == "task" else exists and _ID.fullmatch(name)):
            name = "?"
        resource = f"{kind}:{name}"
        return f"{resource} and {more:,} more" if more else resource


class Auditor:
    """Turns the calls of a replica into audit events. Runs on the event loop."""

    def __init__(
        self, store: Callable[[Sequence[AuditedCall], bool], asyncio.Future[None] | None], *, anonymous: bool
    ) -> None:
        """`store`: `AuditLog.add`, which this layer does not know. `anonymous`: no tokens are required."""
        self._store = store
        self._nameless = ANONYMOUS if anonymous else ""
        self._minute = 0
        self._refusals: Counter[str] = Counter()
        self._audited = {path_of(name): Audited(name, rpc.changes, self) for name, rpc in RPCS.items() if rpc.changes}

    def of(self, method: str) -> Audited | None:
        """Returns the events of this RPC, or None if it only reads."""
        return self._audited.get(method)

    def unauthorized(self, method: str, identity: CallerIdentity | None, error: DomainError) -> None:
        """Records a call whose token is unknown, or whose role may not make it."""
        audited = self._audited.get(method)
        if audited and identity is not None:
            audited.refused(identity, None, error)
        elif audited and self.admits("", MAX_UNAUTHENTICATED):
            self._store([AuditedCall("", 0, audited.name, "", outcome(error))], False)

    def add(
        self,
        identity: CallerIdentity,
        method: str,
        about: Sequence[tuple[int, str]],
        outcome: str,
        changes: str = "",
        *,
        awaited: bool,
    ) -> asyncio.Future[None] | None:
        actor, account_ids = identity.name or self._nameless, identity.scope.accounts or ()
        default = _concerned.get() or (account_ids[0] if len(account_ids) == 1 else 0)
        calls = [
            AuditedCall(actor, account_id or default, method, name, outcome, changes) for account_id, name in about
        ]
        return self._store(calls, awaited)

    def admits(self, caller: str, limit: int) -> bool:
        """Returns whether a refused call of this caller is recorded; says in the log if some were not."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute = minute
            self._refusals.clear()
        self._refusals[caller] += 1
        if self._refusals[caller] == limit + 1:
            _log.warning("refused calls are not all in the audit", action="audit", actor=caller, a_minute=limit)
        return self._refusals[caller] <= limit


def outcome(error: BaseException) -> str:
    if isinstance(error, DomainError):
        return f"{error.code} {error.reason}"
    return _CANCELLED if isinstance(error, asyncio.CancelledError) else f"{INTERNAL} {INTERNAL}"
