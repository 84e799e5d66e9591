"""Webhook interest: which events any webhook wants. While none does, events are not stored and cost nothing."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler_svc.domain.webhook import EventType


class WebhookInterest:
    """One a replica; all of its threads read it. It may be a moment old: the statement that stores decides."""

    def __init__(self) -> None:
        self._wanted: frozenset[tuple[str, int]] = frozenset()

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def wants(self, event_type: EventType, account_id: int) -> bool:
        """Whether a webhook of this account, or of all accounts, may want such events."""
        return bool(self._wanted) and ((event_type, account_id) in self._wanted or (event_type, 0) in self._wanted)

    def replace(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Takes what is wanted now: event types, each with an account (0: all)."""
        self._wanted = frozenset(wanted)
