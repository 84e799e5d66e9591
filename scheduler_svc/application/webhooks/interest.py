"""Webhook interest: which events any webhook wants. While it is known that none does, events cost nothing."""

from __future__ import annotations

from collections.abc import Iterable

from scheduler_svc.domain.webhook import EventType


class WebhookInterest:
    """One a replica; all of its threads read it. It may be a moment old: the statement that stores decides."""

    def __init__(self, wanted: Iterable[tuple[str, int]] | None = None) -> None:
        """`wanted` as in `replace`; None: it is not known yet, so everything may be wanted."""
        self._wanted = None if wanted is None else frozenset(wanted)

    def __bool__(self) -> bool:
        """Whether a webhook may want anything."""
        return self._wanted is None or bool(self._wanted)

    def wants(self, event_type: EventType, account_id: int) -> bool:
        """Whether a webhook of this account, or of all accounts, may want such events."""
        wanted = self._wanted
        if not wanted:
            return wanted is None
        return (event_type, account_id) in wanted or (event_type, 0) in wanted

    def replace(self, wanted: Iterable[tuple[str, int]]) -> None:
        """Takes what is wanted now: event types, each with an account (0: all)."""
        self._wanted = frozenset(wanted)
