"""`contentgen-scheduler`: the entry point. It imports nothing that has gRPC: `main` sets what that reads before."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from contentgen.service.launch import ENDING, Handler, end_on_signals, launch

HANDLER_TIMEOUT = 0.2
"""Seconds in which a handler of a signal runs, unless a call waits."""


def main() -> None:
    """Runs the scheduler or one of its commands. Exit status 78 where a module is missing, else see `main`."""
    is_probe = sys.argv[1:2] == ["health"]  # run every few seconds: it needs little of the scheduler
    module = "scheduler_svc.admin.health_command" if is_probe else "scheduler_svc.main"
    launch("scheduler", module, _end_though_blocked)


def _end_though_blocked(end: Handler) -> None:
    """A thread ends the process too: a call of libpq that waits for the database lets no handler run before it ends."""
    end_on_signals(end)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)  # until the event loop sets its own
    threading.Thread(target=_end_blocked, args=(reader, end), daemon=True).start()


def _end_blocked(reader: int, end: Handler) -> None:
    number = 0
    while number not in ENDING:
        (number,) = os.read(reader, 1)
    time.sleep(HANDLER_TIMEOUT)
    end(number, None)


if __name__ == "__main__":
    main()
