"""`contentgen-worker`: the entry point, which says what to install where the extra `worker` is missing.

It imports nothing by itself: the guard starts before gRPC is imported.
"""

from __future__ import annotations

import gc
import os
import signal
import sys


def main() -> None:
    """Runs the worker. Exit status 78 where a module is missing, else see `main`."""
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        for number in (signal.SIGTERM, signal.SIGINT):  # until it serves, which has handlers of its own
            signal.signal(number, _end)
    elif os.getpid() == 1:  # of a container: the kernel drops a TERM that a command has no handler for
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    gc.disable()  # until `freeze`: what is imported stays, and to look for garbage in it takes a third of a start
    try:
        from worker_svc.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"", "contentgen", "worker_svc"}:
            raise
        sys.stderr.write(
            f"contentgen-worker: the module {error.name} is missing: pip install 'contentgen-grpc[worker]'\n"
        )
        sys.exit(78)
    gc.freeze()
    gc.enable()
    run()


def _end(number: int, _frame: object) -> None:
    os.write(2, f"contentgen-worker: ended by {signal.Signals(number).name} before it was ready\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
