"""How each service's program begins: signals before it serves, open files, and what to install if an extra is missing.

It imports the standard library alone: the services set what gRPC reads before they import it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from types import FrameType, TracebackType
from typing import NoReturn

Handler = Callable[[int, FrameType | None], None]
ENDING = (signal.SIGTERM, signal.SIGINT)


def end_on_signals(end: Handler) -> None:
    for number in ENDING:
        signal.signal(number, end)


def raise_open_files(wanted: int) -> None:
    """Raises the limit of open files as far as allowed and needed: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(hard, wanted), hard))


def most_connections(wanted: int, other_files: int) -> int:
    """Returns `wanted`, or what the limit of open files leaves for connections, at least half of it."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(files - other_files, files // 2))


def end_without(module: str, extra: str, program: str) -> NoReturn:
    """Says which extra a missing module is of. Exit status 78."""
    say_why_not(program, f"the module {module} is missing: pip install 'contentgen-grpc[{extra}]'")
    sys.exit(78)


def say_why_not(program: str, *problems: str) -> None:
    """Says why a program ends before it serves: as an event of its log, or, where that is for people, as a line."""
    sys.stderr.writelines(_line(program, problem, "start.failed", "critical") for problem in problems)


def _is_for_people() -> bool:
    """The settings may be what is wrong, so only the variable and the terminal decide how the log is."""
    return os.environ.get("CONTENTGEN_LOG_FORMAT") == "console" or sys.stderr.isatty()


def _line(program: str, text: str, action: str, level: str, **more: str) -> str:
    """Returns a line as `logs` would write it, without a module that may be missing, or be half imported."""
    if _is_for_people():
        return f"{program}: {text}\n"
    timestamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event = {"action": action, "program": program, **more, "event": text, "level": level, "timestamp": timestamp}
    return json.dumps(event) + "\n"


def launch(service: str, module: str, handle: Callable[[Handler], None] = end_on_signals) -> None:
    """Imports a module, and runs its `main`. Exit status 78 where a module is missing, else that of `main`.

    Until the service serves, and has handlers of its own, `handle` makes signals call what ends it: nothing is lost,
    and no cleanup waits for what hangs. Commands have Python's handlers.
    """
    program = f"contentgen-{service}"

    def end(number: int, _frame: FrameType | None) -> None:
        text = f"ended by {signal.Signals(number).name} before it was ready"
        os.write(sys.stderr.fileno(), _line(program, text, "stop", "info").encode())
        os._exit(0)

    def crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        text, whole = f"{kind.__name__}: {error}", "".join(traceback.format_exception(kind, error, trace))
        sys.stderr.write(_line(program, text.partition("\n")[0], "crash", "critical", exception=whole))

    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        handle(end)
        if not _is_for_people():
            sys.excepthook = crash
    elif os.getpid() == 1:  # of a container: the kernel drops a TERM that a command has no handler for
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    gc.disable()  # until `freeze`: what is imported stays, and to look for garbage in it takes a third of a start
    try:
        run = import_module(module).main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in {"", "contentgen", f"{service}_svc"}:
            raise
        end_without(str(error.name), service, program)
    gc.freeze()
    gc.enable()
    run()
