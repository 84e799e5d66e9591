"""The one error of a start with wrong settings. Part of `scheduler_svc.config`."""

from __future__ import annotations

from collections.abc import Iterable

EXIT_STATUS = 78
"""What a process ends with when its settings are wrong: EX_CONFIG of sysexits.h."""


class SettingsError(Exception):
    """Settings that nothing can be started with. `problems` has one line for each, with what it should be."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UsageError(SettingsError):
    """A command line that can't be read."""
