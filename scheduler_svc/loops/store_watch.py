"""Whether the database answers: keeps the replica's health, and acts when it goes away or comes back."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from scheduler_svc.application.health import Health

_log = structlog.get_logger(__name__)


class StoreWatch:
    """Lives on the event loop."""

    def __init__(self, health: Health, *, on_back: Callable[[], None], on_away: Callable[[], None]) -> None:
        self._health = health
        self._on_back = on_back
        self._on_away = on_away
        self._reasons: set[str] = set()

    def note(self, available: bool) -> None:
        """Takes the result of a regular try, which the reaper makes."""
        if available:
            self._available()
        else:
            self.away("it does not answer in time")

    def away(self, reason: str) -> None:
        """The database can't be reached. Each reason is logged once: the first may be that a connection broke."""
        was_available = self._health.store_available
        self._health.set_store_available(False)
        if reason not in self._reasons:
            self._reasons.add(reason)
            _log.warning("the database is away", action="store", reason=reason)
        if was_available:
            self._on_away()

    def _available(self) -> None:
        was_available = self._health.store_available
        self._health.set_store_available(True)
        if not was_available:
            self._reasons.clear()
            _log.info("the database is there", action="store")
            self._on_back()
