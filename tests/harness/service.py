"""A command of ours that serves: its log says when it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.harness.process import Process, installed

START_LIMIT = 60.0
"""Seconds until a service has to be ready, on a machine that is busy with other tests."""


class Service(Process):
    """One process at a time of a service."""

    def __init__(self, name: str, command: str, ready: str, log: Path, environment: Mapping[str, str]) -> None:
        """`ready` is the action of the log event that says that it serves."""
        super().__init__(name, [installed(command)], log, environment)
        self._ready = ready

    @property
    def served(self) -> bool:
        """Whether it has become ready since it was started last."""
        return bool(self.events(self._ready))

    def start(self, **changed: str) -> Self:
        """Starts it, with some settings changed for good, and returns once it serves."""
        self.launch(**changed)
        self.wait_for(self._ready, within=START_LIMIT)
        return self
