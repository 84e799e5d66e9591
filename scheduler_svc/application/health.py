"""Whether this replica can serve: not while the database is away, nor while it drains."""

from __future__ import annotations

from collections.abc import Callable


class Health:
    """Lives on the event loop; who subscribes is told each change."""

    def __init__(self) -> None:
        self._store_there = False
        self._draining = False
        self._callbacks: list[Callable[[bool], None]] = []

    @property
    def serving(self) -> bool:
        """Whether calls are welcome."""
        return self._store_there and not self._draining

    @property
    def store_there(self) -> bool:
        """Whether the database answered last."""
        return self._store_there

    @property
    def draining(self) -> bool:
        """Whether it will never serve again."""
        return self._draining

    def subscribe(self, callback: Callable[[bool], None]) -> None:
        """`callback` gets each new value of `serving`."""
        self._callbacks.append(callback)

    def store(self, there: bool) -> None:
        """The database answers, or does not."""
        self._set(there, self._draining)

    def drain(self) -> None:
        """This replica goes away."""
        self._set(self._store_there, True)

    def _set(self, store_there: bool, draining: bool) -> None:
        before = self.serving
        self._store_there, self._draining = store_there, draining
        if self.serving != before:
            for callback in self._callbacks:
                callback(self.serving)
