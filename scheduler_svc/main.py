"""`contentgen-scheduler`: reads the settings, and starts and ends the database and one replica in order.

Commands that need the database themselves, beside a running scheduler, are in `_COMMANDS`.
"""

from __future__ import annotations

import os
import sys

# Before gRPC is imported: it must allow child processes, and only its trace shows failed handshakes.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
if os.environ.get("CONTENTGEN_TLS_CERT") or any(argument.startswith("--tls-cert") for argument in sys.argv):
    os.environ.setdefault("GRPC_TRACE", "handshaker")
else:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its messages are not JSON, and ours say as much

import asyncio
import gc
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pkgutil import resolve_name
from typing import Any, Never

import structlog
import uvloop

from contentgen.service.launch import end_without, raise_open_files, say_why_not
from contentgen.service.logs import follow_level_signals, ignore_level_signals
from contentgen.service.settings import EXIT_STATUS, SettingsError, exports_traces
from contentgen.service.values import Address
from scheduler_svc.assets.stores import FolderStore
from scheduler_svc.config import Bucket, Settings, configure_logging, notices, read_settings
from scheduler_svc.database.connections import check_sessions
from scheduler_svc.database.lineage import Lineage, LineageFile
from scheduler_svc.domain.errors import AssetStoreUnavailable
from scheduler_svc.postgres import EmbeddedPostgres, PostgresError, find_bindir
from scheduler_svc.replica.replica import Replica
from scheduler_svc.runtime.health import Health
from scheduler_svc.runtime.tls import redirect_stderr
from scheduler_svc.runtime.tracing import NO_TRACER, Tracer
from scheduler_svc.schema.compatibility import UnsupportedSchema
from scheduler_svc.schema.migrate import MigrationStuck, migrate

SUPERVISE_INTERVAL = 0.5
MIN_OPEN_FILES = 16_384
"""What `Limits.connections` needs, and some more."""
SHUTDOWN_TIMEOUT = 9.0
"""Seconds of a drain at most: without an answer from the database, some part would wait forever."""
EXPORT_TIMEOUT = 0.5
"""Seconds for the last spans to be exported."""
LINGER_TIMEOUT = 0.1
"""Seconds for the last answers to reach their callers."""
_COMMANDS = {
    "backup": "scheduler_svc.admin.backups:backup_command",
    "config": "scheduler_svc.admin.config_command:config_command",
    "import": "old_application.command:import_command",  # a package of its own, which this one knows by name only
    "migrate": "scheduler_svc.admin.migrate_command:migrate_command",
    "restore": "scheduler_svc.admin.backups:restore_command",
    "token": "scheduler_svc.admin.token_command:token_command",
}
"""Imported on use: a scheduler that serves does not need them."""
_log = structlog.get_logger(__name__)


def main() -> None:
    """Runs the scheduler.

    Exit status 0 after a drain; 78 if the settings, the database's folder, its schema or its rights are invalid; 1 if a
    migration failed, or a part of the replica can't be kept running.
    """
    os.umask(os.umask(0) | 0o022)  # whatever it was, no other user may write our files
    command = _COMMANDS.get(sys.argv[1]) if sys.argv[1:] else None
    if command is not None:
        sys.exit(_command(command)(sys.argv[2:]))
    try:
        settings = read_settings(sys.argv[1:])
        if settings.tls:
            redirect_stderr()
        configure_logging(settings)
        ignore_level_signals()
        for notice in notices(os.environ):
            _log.warning(notice, action="settings")
        _serve(settings, _tracer())
    except SettingsError as error:
        sys.exit(_cannot_start(EXIT_STATUS, *error.problems))
    except (PostgresError, UnsupportedSchema) as error:
        sys.exit(_cannot_start(EXIT_STATUS, str(error)))
    except MigrationStuck as error:
        sys.exit(_cannot_start(1, str(error)))


def _cannot_start(status: int, *problems: str) -> int:
    say_why_not("contentgen-scheduler", *problems)
    return status


def _command(path: str) -> Callable[[Sequence[str]], int]:
    """Imports a command. Exit status 78 if it is of an extra that is missing."""
    package = path.partition(".")[0]
    try:
        command: Callable[[Sequence[str]], int] = resolve_name(path)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        end_without(package, package.replace("_", "-"), "contentgen-scheduler")
    return command


def _tracer() -> Tracer:
    """Returns the tracer. Raises SettingsError if spans are to be exported and can't be."""
    if not exports_traces(os.environ):
        return NO_TRACER
    from scheduler_svc.runtime.otel import OtelTracer

    return OtelTracer()


def _serve(settings: Settings, tracer: Tracer) -> None:
    with ExitStack() as stack:
        postgres = None if settings.database_url else stack.enter_context(_embedded(settings))
        url = postgres.url() if postgres else str(settings.database_url)
        _prepare_assets(settings)
        lineage = Lineage(None if postgres else LineageFile(settings.data_dir, url))
        lineage.probe(url)
        if not postgres:
            check_sessions(url, lineage)
        migrate(url, lineage, then_serves=not postgres, cell=settings.cell)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(settings, url, postgres, lineage, tracer))


def _prepare_assets(settings: Settings) -> None:
    """Creates the folder of the assets. Raises SettingsError if it can't be written."""
    location = settings.asset_location
    if isinstance(location, Bucket):
        return
    if settings.database_url:
        _log.info("all schedulers of this database must share this folder", action="assets", folder=str(location))
    try:
        FolderStore(location).prepare()
    except (OSError, AssetStoreUnavailable) as error:
        raise SettingsError([f"CONTENTGEN_ASSETS={location}: must be a folder that can be written ({error})"]) from None


def _embedded(settings: Settings) -> EmbeddedPostgres:
    """Returns the embedded server. Raises PostgresError if there are no programs for it: images leave them out."""
    bindir = settings.pg_bindir or find_bindir()
    _log.info("no DATABASE_URL: an embedded PostgreSQL is used", action="postgres", folder=str(settings.data_dir))
    return EmbeddedPostgres(settings.data_dir / "postgres", bindir=bindir)


async def _run(
    settings: Settings, url: str, postgres: EmbeddedPostgres | None, lineage: Lineage, tracer: Tracer
) -> Never:
    """Serves until TERM or INT, then drains and ends the process. A second signal ends it at once."""
    loop = asyncio.get_running_loop()
    follow_level_signals(loop, settings.log_level)
    raise_open_files(MIN_OPEN_FILES)
    replica = Replica(settings, url, lineage=lineage, tracer=tracer)
    if settings.tokens_file or settings.tls:
        loop.add_signal_handler(signal.SIGHUP, replica.reload_files)
    _tune_garbage_collector()
    port = await replica.start()  # until here a signal ends the process at once
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    listening = {"listen": str(Address(settings.listen.host, port))}
    if settings.metrics_listen:
        listening["metrics_listen"] = str(Address(settings.metrics_listen.host, replica.metrics_port))
    if settings.scaler_listen:
        listening["scaler_listen"] = str(Address(settings.scaler_listen.host, replica.scaler_port))
    _log.info("ready", action="ready", **listening, scheduler_id=replica.scheduler_id)
    supervisor = asyncio.create_task(_supervise(postgres, replica.health))
    status = await _until_end(signals, replica)
    supervisor.cancel()
    drain = asyncio.create_task(replica.drain())
    second_signal = asyncio.create_task(signals.get())
    await asyncio.wait({drain, second_signal}, timeout=SHUTDOWN_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
    if not drain.done():
        reason = "a second signal" if second_signal.done() else "time-out"
        _log.warning("not waiting for the drain", action="stop", why=reason, waits_for=_where(drain))
        _end_now(postgres, status)
    second_signal.cancel()
    with suppress(asyncio.CancelledError):
        await second_signal
    await drain
    tracer.close(EXPORT_TIMEOUT)
    await asyncio.sleep(LINGER_TIMEOUT)
    _log.info("stopped", action="stop")
    _end_now(postgres, status)


async def _until_end(signals: asyncio.Queue[signal.Signals], replica: Replica) -> int:
    """Returns the exit status once the replica has to end."""
    assert replica.failed is not None
    received = asyncio.create_task(signals.get())
    futures: list[asyncio.Future[Any]] = [received, replica.failed]
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    if received.done():
        _log.info("draining", action="drain", signal=received.result().name)
        return 0
    received.cancel()
    _log.critical("ending: a part of this replica can't be kept running", action="drain", part=replica.failed.result())
    return 1


def _where(task: asyncio.Task[None]) -> str:
    """Returns the source line at which a task waits."""
    return "".join(traceback.extract_stack(frame, limit=1)[0].line or "" for frame in task.get_stack(limit=1))


def _end_now(postgres: EmbeddedPostgres | None, status: int) -> Never:
    """Ends the process. Nothing is lost: what was not committed is not acknowledged.

    The kernel closes the connections; a call on one fails with UNAVAILABLE, which is right, since it did not begin.
    """
    if postgres:
        postgres.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _tune_garbage_collector() -> None:
    """Exempts present objects, and looks seldom at later ones: only refused calls are cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 50, 100)


async def _supervise(postgres: EmbeddedPostgres | None, health: Health) -> None:
    """Restarts the embedded PostgreSQL if it has ended or stands still; the replica finds it by itself."""
    while postgres is not None:
        if not postgres.alive():
            _log.error("the embedded PostgreSQL ended; restarting it", action="postgres")
            await _restart(postgres)
        elif not health.store_available and await asyncio.to_thread(postgres.stands_still):
            _log.error(
                "the embedded PostgreSQL refuses connections and does not recover; restarting it",
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
