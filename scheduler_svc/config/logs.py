"""Logging: structlog, one event a line on stderr, including other libraries' events. Part of `scheduler_svc.config`.

An event's text says what happened; its keys say where: `action` (a fixed word), and, if they apply, `task_id`,
`lease_id`, `attempt`, `worker_id`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import structlog
from structlog.types import Processor

from scheduler_svc.config.settings import Settings

_QUIET = ("grpc", "sqlalchemy", "alembic", "asyncio", "opentelemetry", "urllib3")
"""Libraries that log every step."""

_DEBUG, _AS_SET = signal.SIGUSR1, signal.SIGUSR2

_UNSENT = ("grpc._cython.cygrpc", "InternalError")
"""The class of gRPC's exception for an unsent answer, by name: settings are read before gRPC is imported."""

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


_log = structlog.get_logger(__name__)


def configure_logging(settings: Settings) -> None:
    """Configures structlog and the root logger, also for loggers that exist already."""
    format_ = settings.log_format or ("console" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=_rendering(format_), foreign_pre_chain=[*_SHARED, _name_the_logger]
        )
    )
    handler.addFilter(_is_our_concern)
    logging.root.handlers = [handler]
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    _set_level(_number(settings.log_level))


def ignore_level_signals() -> None:
    """Until `follow_level_signals` they would end the process."""
    for number in (_DEBUG, _AS_SET):
        signal.signal(number, signal.SIG_IGN)


def follow_level_signals(loop: asyncio.AbstractEventLoop, settings: Settings) -> None:
    """USR1 sets the level to debug, USR2 back to what the settings say."""
    loop.add_signal_handler(_DEBUG, _change_level, logging.DEBUG)
    loop.add_signal_handler(_AS_SET, _change_level, _number(settings.log_level))


def _change_level(level: int) -> None:
    """Sets the level, and logs that at the lower one of the two."""
    former = logging.root.level
    _set_level(min(level, former))
    _log.info("the log level changes", action="log_level", former=_name(former), present=_name(level))
    _set_level(level)


def _set_level(level: int) -> None:
    logging.root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _name(level: int) -> str:
    return logging.getLevelName(level).lower()


def _is_our_concern(record: logging.LogRecord) -> bool:
    """Drops, unless debugging, gRPC's errors about answers that could not be sent because the caller hung up."""
    kinds = record.exc_info[0].__mro__ if record.exc_info and record.exc_info[0] else ()
    unsent = any((kind.__module__, kind.__name__) == _UNSENT for kind in kinds)
    return not unsent or logging.root.level <= logging.DEBUG


def _rendering(format_: str) -> list[Processor]:
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if format_ == "console":
        plain = structlog.dev.plain_traceback  # the other shows locals, and so secrets
        return [without_meta, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return [without_meta, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]


def _name_the_logger(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    record = event["_record"]
    event["logger"] = record.name
    return event
