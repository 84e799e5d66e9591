"""Whether this replica serves: not while the database is away, work stands still, its clock is wrong, or it drains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Health:
    """Lives on the event loop."""

    def __init__(self) -> None:
        self._store_available = False
        self._draining = False
        self._stalled = False
        self._failed = False
        self._clock_wrong = False
        self._wrong_assets = False
        self._callbacks: list[Callable[[bool], None]] = []

    @property
    def serving(self) -> bool:
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """Why it does not serve; empty if it does. Any thread may read it."""
        present = {
            "the database is away": not self._store_available,
            "work stands still": self._stalled,
            "a part that it needs keeps failing": self._failed,
            "its CONTENTGEN_ASSETS is not the store that the assets are in": self._wrong_assets,
            "it is draining": self._draining,
            "its clock is wrong": self._clock_wrong,
        }
        return [reason for reason, holds in present.items() if holds]

    @property
    def store_available(self) -> bool:
        """Whether the database answered last."""
        return self._store_available

    @property
    def draining(self) -> bool:
        return self._draining

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        self._callbacks.append(callback)

    def set_store_available(self, there: bool) -> None:
        with self._notifying():
            self._store_available = there

    def set_stalled(self, stalled: bool) -> None:
        with self._notifying():
            self._stalled = stalled

    def set_clock_wrong(self, wrong: bool) -> None:
        with self._notifying():
            self._clock_wrong = wrong

    def set_wrong_assets(self, wrong: bool) -> None:
        with self._notifying():
            self._wrong_assets = wrong

    def fail(self) -> None:
        """For good: a part that the replica needs keeps failing."""
        with self._notifying():
            self._failed = True

    def drain(self) -> None:
        with self._notifying():
            self._draining = True

    @contextmanager
    def _notifying(self) -> Iterator[None]:
        before = self.serving
        yield
        if self.serving != before:
            for callback in self._callbacks:
                callback(self.serving)
