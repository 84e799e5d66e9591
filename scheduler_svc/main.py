"""`contentgen-scheduler`: settings, the database, one replica, and their end in the right order.

What needs the database itself, beside a running scheduler, is a command of the same program (`_COMMANDS`).
"""

from __future__ import annotations

import os
import sys

# Before gRPC is imported: children are started beside it, and it tells of failed handshakes by a trace only.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
if os.environ.get("CONTENTGEN_TLS_CERT") or any(argument.startswith("--tls-cert") for argument in sys.argv):
    os.environ.setdefault("GRPC_TRACE", "handshaker")

import asyncio
import gc
import resource
import signal
import traceback
from contextlib import ExitStack, suppress
from pkgutil import resolve_name
from typing import Any, Never

import structlog
import uvloop

from scheduler_svc.api.server.core_log import redirect_stderr
from scheduler_svc.application.health import Health
from scheduler_svc.config import (
    EXIT_STATUS,
    Address,
    Settings,
    SettingsError,
    configure_logging,
    notices,
    read_settings,
)
from scheduler_svc.postgres import EmbeddedPostgres, PostgresError
from scheduler_svc.replica import Replica
from scheduler_svc.store.engine.line_file import LineFile
from scheduler_svc.store.engine.lineage import Lineage
from scheduler_svc.store.engine.session_check import check_sessions
from scheduler_svc.store.schema.migrate import MigrationStuck, SchemaTooNew, check_rights, migrate

SUPERVISE_INTERVAL = 0.5
OPEN_FILES = 16_384
"""What `Limits.connections` needs, and room."""
END_TIMEOUT = 9.0
"""Seconds of a drain at most: where the database does not answer, something waits for it for ever."""
LINGER = 0.1
"""Seconds in which the last answers reach their callers."""
_COMMANDS = {
    "backup": "scheduler_svc.backups:backup_command",
    "import": "scheduler_svc.importer:import_command",
    "migrate": "scheduler_svc.migrate_command:migrate_command",
    "restore": "scheduler_svc.backups:restore_command",
    "token": "scheduler_svc.token_command:token_command",
}
"""Loaded when they are asked for: a scheduler that serves has no use for what they need."""
_log = structlog.get_logger(__name__)


def main() -> None:
    """The entry point.

    Exit status 0 after a drain, 78 where the settings, the database's folder, its schema or its rights are wrong, 1
    where a migration did not get through, or a part of the replica can't be kept running.
    """
    os.umask(os.umask(0) | 0o022)  # whatever it was, nobody else may write to what we make
    command = _COMMANDS.get(sys.argv[1]) if sys.argv[1:] else None
    if command is not None:
        sys.exit(resolve_name(command)(sys.argv[2:]))
    try:
        settings = read_settings(sys.argv[1:])
        if settings.tls:
            redirect_stderr()
        configure_logging(settings)
        for notice in notices(os.environ):
            _log.warning(notice, action="settings")
        _serve(settings)
    except (SettingsError, PostgresError, SchemaTooNew) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_STATUS)
    except MigrationStuck as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def _serve(settings: Settings) -> None:
    with ExitStack() as stack:
        postgres = None if settings.database_url else stack.enter_context(_embedded(settings))
        url = postgres.url() if postgres else str(settings.database_url)
        lineage = Lineage(None if postgres else LineFile(settings.data_dir, url))
        lineage.look(url)
        if not postgres:
            check_sessions(url, lineage)
        migrate(url, lineage)
        if not postgres:
            check_rights(url, lineage)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, url, postgres, lineage))


def _embedded(settings: Settings) -> EmbeddedPostgres:
    _log.info("no DATABASE_URL: an embedded PostgreSQL is used", action="postgres", folder=str(settings.data_dir))
    return EmbeddedPostgres(settings.data_dir / "postgres", bindir=settings.pg_bindir)


async def _run(settings: Settings, url: str, postgres: EmbeddedPostgres | None, lineage: Lineage) -> Never:
    """Serves until TERM or INT, and ends the process; a second one does not wait."""
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    _open_files()
    replica = Replica(settings, url, lineage=lineage)
    if settings.tokens_file or settings.tls:
        loop.add_signal_handler(signal.SIGHUP, replica.reread_files)
    _calm_the_collector()
    port = await replica.start()
    address = str(Address(settings.listen.host, port))
    _log.info("ready", action="ready", listen=address, scheduler_id=replica.scheduler_id)
    supervisor = asyncio.create_task(_supervise(postgres, replica.health))
    status = await _until_end(signals, replica)
    supervisor.cancel()
    drain = asyncio.create_task(replica.drain())
    again = asyncio.create_task(signals.get())
    await asyncio.wait({drain, again}, timeout=END_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
    if not drain.done():
        why = "told again" if again.done() else "it takes too long"
        _log.warning("not waiting for the drain", action="stop", why=why, waits_for=_where(drain))
        _end_now(postgres, status)
    again.cancel()
    with suppress(asyncio.CancelledError):
        await again
    await drain
    await asyncio.sleep(LINGER)
    _log.info("stopped", action="stop")
    _end_now(postgres, status)


async def _until_end(signals: asyncio.Queue[signal.Signals], replica: Replica) -> int:
    """Returns when the replica has to end: the exit status."""
    assert replica.failed is not None
    received = asyncio.create_task(signals.get())
    either: list[asyncio.Future[Any]] = [received, replica.failed]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if received.done():
        _log.info("draining", action="drain", signal=received.result().name)
        return 0
    received.cancel()
    _log.critical("ending: a part of this replica can't be kept running", action="drain", part=replica.failed.result())
    return 1


def _where(task: asyncio.Task[None]) -> str:
    """The line at which a task waits."""
    return "".join(traceback.extract_stack(frame, limit=1)[0].line or "" for frame in task.get_stack(limit=1))


def _end_now(postgres: EmbeddedPostgres | None, status: int) -> Never:
    """What was not committed is not acknowledged, so nothing is lost by ending here.

    The kernel closes the connections, and who has a call on one sees UNAVAILABLE, as it should: it has not begun.
    """
    if postgres:
        postgres.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _open_files() -> None:
    """As many as this process may have, within reason: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES if hard < 0 else min(hard, OPEN_FILES), hard))


def _calm_the_collector() -> None:
    """What stands now stays; of what is made from now on, by the thousand, only refused calls are cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 50, 100)


async def _supervise(postgres: EmbeddedPostgres | None, health: Health) -> None:
    """Starts the embedded PostgreSQL again where it has died or stands still; the replica finds it by itself."""
    while postgres is not None:
        if not postgres.alive():
            _log.error("the embedded PostgreSQL ended; starting it again", action="postgres")
            await _restart(postgres)
        elif not health.store_there and await asyncio.to_thread(postgres.stands_still):
            _log.error(
                "the embedded PostgreSQL refuses everybody and does not recover; ending it, to start it again",
                action="postgres",
                pid=postgres.pid,
            )
            await asyncio.to_thread(postgres.quit)
            await _restart(postgres)
        await asyncio.sleep(SUPERVISE_INTERVAL)


async def _restart(postgres: EmbeddedPostgres) -> None:
    try:
        await asyncio.to_thread(postgres.restart)
    except PostgresError as error:
        _log.error("the embedded PostgreSQL does not start", action="postgres", error=str(error))
    else:
        _log.info("the embedded PostgreSQL is there", action="postgres", pid=postgres.pid)


if __name__ == "__main__":
    main()
