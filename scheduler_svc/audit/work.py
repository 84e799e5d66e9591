"""The audit: stores the events of calls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler_svc.domain.audit import SUBMITS, AuditEvent
from scheduler_svc.domain.ids import parse_task_id

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


def record(tx: Tx, events: Sequence[AuditEvent], extended: Sequence[AuditEvent] = (), *, repeated: bool) -> None:
    """Stores events, and what `extended` ones are about by now.

    `repeated`: some may be stored already, by a commit whose outcome was unknown.
    """
    if repeated:
        stored = tx.audit.stored([event.event_key for event in events])
        extended = [*extended, *(event for event in events if event.event_key in stored and event.method in SUBMITS)]
        events = [event for event in events if event.event_key not in stored]
    tx.audit.insert(_with_accounts(tx, events))
    if extended:
        tx.audit.extend(extended)


def _with_accounts(tx: Tx, events: Sequence[AuditEvent]) -> Sequence[AuditEvent]:
    """Fills in the accounts that the calls did not name, by the resources that they were about."""
    unknown = {event.resource: owned for event in events if not event.account_id and (owned := _owned(event.resource))}
    if not unknown:
        return events
    accounts = tx.audit.accounts_of(sorted(set(unknown.values())))
    return [
        event._replace(account_id=accounts.get(unknown[event.resource], 0))
        if not event.account_id and event.resource in unknown
        else event
        for event in events
    ]


_NUMBERED = frozenset({"content", "schedule", "webhook", "delivery", "channel"})
"""Kinds of resources that belong to an account and that a number names."""


def _owned(resource: str) -> tuple[str, int] | None:
    """Returns the kind and number of a resource that belongs to an account, or None for any other."""
    kind, _, name = resource.partition(":")
    if kind == "task":
        key = parse_task_id(name)
        return (kind, key) if key else None
    return (kind, int(name)) if kind in _NUMBERED and name.isdecimal() else None
