"""The worker's guard: a small process that is the parent of every CLI, and outlives the worker to end them.

`client` is the worker's end, `process` the guard's own program. After the deadline of a run only the guard ends it,
since it alone knows whether the CLI had ended by then. The lock of the worker's folder is held until no process is
left, so whoever gets it next knows that all CLIs are gone. If the guard dies, the kernel ends its CLIs, and the worker
finds their descendants by a mark in their environment and exits. Re-parenting and the parent-death signal exist on
Linux only; elsewhere the process group is killed.
"""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Returns the seconds since boot, by the clock of every deadline: CLOCK_BOOTTIME, which also counts suspension.

    Systems without it use CLOCK_MONOTONIC.
    """
    return time.clock_gettime(_CLOCK)
