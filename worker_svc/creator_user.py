"""The user whom CLIs run as, if it is not the worker's own: what a CLI reads and signals is then up to that user."""

from __future__ import annotations

import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "KILL": 5, "SETGID": 6, "SETUID": 7, "SYS_PTRACE": 19}
"""What it takes to give folders to another user, read what it leaves, end its processes, and find them by their mark;
with the kernel's numbers (capabilities(7))."""


@dataclass(frozen=True, slots=True)
class CreatorUser:
    """A user of this machine, with its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def named(cls, name: str) -> CreatorUser:
        """Returns the user, whom this process may run programs as. Raises ValueError: what must be otherwise."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise ValueError("must be the name of a user of this machine") from None
        if entry.pw_uid in {0, os.geteuid()}:
            raise ValueError("must be a user with fewer rights than root and than the worker's own")
        if missing := _missing_capabilities():
            raise ValueError(
                "needs a worker that may run programs as another user: start it as root, or with the capabilities"
                f" {', '.join(CAPABILITIES)} (it has no {', '.join(missing)})"
            )
        return cls(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))


def _missing_capabilities() -> list[str]:
    if sys.platform != "linux":
        return [] if os.geteuid() == 0 else list(CAPABILITIES)
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return [name for name, number in CAPABILITIES.items() if not effective >> number & 1]
