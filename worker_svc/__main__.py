"""`contentgen-worker`: the entry point, which says what to install where the extra `worker` is missing.

Layer: above `main`. It imports nothing by itself: the guard starts before gRPC is imported.
"""

from __future__ import annotations

import gc
import os
import signal
import sys


def main() -> None:
    """Runs the worker. Exit status 78 where a module is missing, else see `main`."""
    if os.getpid() == 1:  # of a container: the kernel drops a TERM that it has no handler for, and a start takes time
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    gc.disable()  # what is imported stays: to look for garbage in it takes a tenth of a start
    try:
        from worker_svc.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"", "contentgen", "worker_svc"}:
            raise
        sys.stderr.write(
            f"contentgen-worker: the module {error.name} is missing: pip install 'contentgen-grpc[worker]'\n"
        )
        sys.exit(78)
    gc.enable()
    run()


if __name__ == "__main__":
    main()
