"""The clock of every deadline here: it goes on while the machine is suspended, and nobody can set it."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # not every system counts its sleep


def now() -> float:
    """Seconds since boot, suspension included (CLOCK_BOOTTIME; elsewhere CLOCK_MONOTONIC)."""
    return time.clock_gettime(_CLOCK)
