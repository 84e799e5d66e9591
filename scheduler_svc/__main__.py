"""`contentgen-scheduler`: the entry point, which says what to install where the extra `scheduler` is missing.

Layer: above `main`. It imports nothing by itself: `main` sets what gRPC reads before gRPC is imported.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time

HANDLER_TIMEOUT = 0.2
"""Seconds in which a handler of a signal runs, unless a call waits."""
_ENDING = (signal.SIGTERM, signal.SIGINT)


def main() -> None:
    """Runs the scheduler or one of its commands. Exit status 78 where a module is missing, else see `main`."""
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        _end_on_signals()
    elif os.getpid() == 1:  # of a container: the kernel drops a TERM that a command has no handler for
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    gc.disable()  # until `freeze`: what is imported stays, and to look for garbage in it takes a third of a start
    try:
        if sys.argv[1:2] == ["health"]:  # run every few seconds: it needs little of the scheduler
            from scheduler_svc.admin.health_command import main as run
        else:
            from scheduler_svc.main import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"", "contentgen", "scheduler_svc"}:
            raise
        sys.stderr.write(
            f"contentgen-scheduler: the module {error.name} is missing: pip install 'contentgen-grpc[scheduler]'\n"
        )
        sys.exit(78)
    gc.freeze()
    gc.enable()
    run()


def _end_on_signals() -> None:
    """Until it serves, which has handlers of its own.

    A thread ends the process too: a call of libpq that waits for the database lets no handler run before it returns.
    """
    for number in _ENDING:
        signal.signal(number, _end)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)  # until the event loop sets its own
    threading.Thread(target=_end_blocked, args=(reader,), daemon=True).start()


def _end_blocked(reader: int) -> None:
    number = 0
    while number not in _ENDING:
        (number,) = os.read(reader, 1)
    time.sleep(HANDLER_TIMEOUT)
    _end(number)


def _end(number: int, _frame: object = None) -> None:
    """Nothing is lost: what was not committed is not acknowledged. No cleanup, which might wait for what hangs."""
    os.write(2, f"contentgen-scheduler: ended by {signal.Signals(number).name} before it was ready\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
