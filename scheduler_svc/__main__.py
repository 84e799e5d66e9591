"""`contentgen-scheduler`: the entry point, which says what to install where the extra `scheduler` is missing.

Layer: above `main`. It imports nothing by itself: `main` sets what gRPC reads before gRPC is imported.
"""

from __future__ import annotations

import gc
import os
import signal
import sys


def main() -> None:
    """Runs the scheduler or one of its commands. Exit status 78 where a module is missing, else see `main`."""
    if os.getpid() == 1:  # of a container: the kernel drops a TERM that it has no handler for, and a start takes time
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    gc.disable()  # what is imported stays: to look for garbage in it takes a tenth of a start
    try:
        if sys.argv[1:2] == ["health"]:  # run every few seconds: it needs little of the scheduler
            from scheduler_svc.health_command import main as run
        else:
            from scheduler_svc.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"", "contentgen", "scheduler_svc"}:
            raise
        sys.stderr.write(
            f"contentgen-scheduler: the module {error.name} is missing: pip install 'contentgen-grpc[scheduler]'\n"
        )
        sys.exit(78)
    gc.enable()
    run()


if __name__ == "__main__":
    main()
