"""The process that a `Sandbox` starts. It works on one input after the other, until its service ends.

    python -I -m contentgen.sandbox MODULE:FUNCTION BYTES SECONDS

An error of the function ends it; a new one takes its place.
"""

from __future__ import annotations

import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

from contentgen.sandbox.sandbox import receive, send


def main(work: str, memory: str, seconds: str) -> None:
    """Serves standard input, which is a socket."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal, or systemd, sends them to the service, too
        signal.signal(number, signal.SIG_IGN)
    _limit(int(memory))
    module, _, name = work.partition(":")
    function: Callable[[bytes], bytes] = getattr(import_module(module), name)
    with socket.socket(fileno=0) as service, suppress(EOFError, ConnectionError):
        send(service, b"")
        while True:
            data = receive(service)
            _limit_time(int(seconds))
            send(service, function(data))


def _limit(memory: int) -> None:
    """Has this process start no other, write no file, and hold a limited number of bytes."""
    limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_CORE: 0, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_NPROC: 0}
    for resource_number, bound in limits.items():
        resource.setrlimit(resource_number, (bound, bound))


def _limit_time(seconds: int) -> None:
    """Limits the time of a call, so that this process ends even if its service is gone and can't end it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(*sys.argv[1:])
