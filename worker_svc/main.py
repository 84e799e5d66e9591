"""The worker's composition root: settings, folder, guard, then the session.

The guard starts before gRPC is imported, because no process may be forked after that.

Exit statuses: 0 drained or stopped, 1 broken (such as a lost guard), 75 the one task's result is not acknowledged, 78
wrong settings.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Sequence
from typing import NoReturn

import structlog

from contentgen import variables
from contentgen.service.launch import say_why_not
from contentgen.service.logs import ignore_level_signals
from contentgen.service.settings import EXIT_STATUS, SettingsError, exports_traces
from contentgen.version import own_version
from worker_svc import config_command, try_command
from worker_svc.config import WorkerSettings, configure_logging, read_settings
from worker_svc.folder import FolderError, WorkerFolder, take_folder
from worker_svc.guard.client import Guard
from worker_svc.guard.process.launch import hide_memory

EXPORT_TIMEOUT = 2.0  # seconds for the last spans to be exported

_log = structlog.get_logger()


def main(argv: Sequence[str] | None = None) -> NoReturn:
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Runs a worker until a signal stops it, and returns its exit status."""
    hide_memory()  # a CLI of the same user could read the token there
    os.umask(os.umask(0) | 0o022)  # no other user may write to the files that we make
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its messages are not JSON, and repeat ours
    if argv and argv[0] == "try":
        return try_command.run(argv[1:])
    if argv and argv[0] == "config":
        return config_command.run(argv[1:])
    try:
        settings = read_settings(argv)
        traced = exports_traces(os.environ)
    except SettingsError as error:
        return _cannot_start(*error.problems)
    configure_logging(settings.log_level, settings.log_format)
    ignore_level_signals()
    for notice in variables.notices(os.environ):
        _log.warning(notice, action="settings.notice")
    try:
        user = settings.cli_user()
        folder = take_folder(
            settings.data_dir,
            settings.worker_id,
            platform.node(),
            lambda text: _log.warning(text, action="folder.notice"),
            creator=user.uid if user else None,
        )
    except (FolderError, OSError) as error:
        return _cannot_start(f"CONTENTGEN_DATA_DIR: {error}")
    structlog.contextvars.bind_contextvars(worker_id=folder.identity.worker_id)
    guard = Guard.launch(folder.lock_fd, owner=folder.identity.folder_id, user=user)
    try:
        return _serve(settings, folder, guard, traced=traced)
    except SettingsError as error:
        return _cannot_start(*error.problems)


def _serve(settings: WorkerSettings, folder: WorkerFolder, guard: Guard, *, traced: bool) -> int:
    import uvloop

    from worker_svc.session.leases import NO_TRACER
    from worker_svc.session.service import serve

    tracer = NO_TRACER
    if traced:
        from worker_svc.otel import OtelTracer

        tracer = OtelTracer(folder.identity.worker_id)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        status = runner.run(serve(settings, folder, guard, own_version(), tracer))
    tracer.close(EXPORT_TIMEOUT)
    return status


def _cannot_start(*problems: str) -> int:
    say_why_not("contentgen-worker", *problems)
    return EXIT_STATUS
