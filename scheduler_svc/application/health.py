"""Whether this replica can serve: not while the database is away or work stands still, nor while it drains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Health:
    """Lives on the event loop; who subscribes is told each change."""

    def __init__(self) -> None:
        self._store_available = False
        self._draining = False
        self._stalled = False
        self._callbacks: list[Callable[[bool], None]] = []

    @property
    def serving(self) -> bool:
        """Whether calls are welcome."""
        return self._store_available and not self._stalled and not self._draining

    @property
    def store_available(self) -> bool:
        """Whether the database answered last."""
        return self._store_available

    @property
    def draining(self) -> bool:
        """Whether it will never serve again."""
        return self._draining

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        """`callback` gets each new value of `serving`."""
        self._callbacks.append(callback)

    def set_store_available(self, there: bool) -> None:
        """The database answers, or does not."""
        with self._telling():
            self._store_available = there

    def set_stalled(self, stalled: bool) -> None:
        """Some of the work that a replica is there for stands still, or none does."""
        with self._telling():
            self._stalled = stalled

    def drain(self) -> None:
        """This replica goes away."""
        with self._telling():
            self._draining = True

    @contextmanager
    def _telling(self) -> Iterator[None]:
        before = self.serving
        yield
        if self.serving != before:
            for callback in self._callbacks:
                callback(self.serving)
