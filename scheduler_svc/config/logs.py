"""Logging: structlog, one event a line on stderr, including other libraries' events. Part of `scheduler_svc.config`.

An event's text says what happened; its keys say where: `action` (a fixed word), and, if they apply, `task_id`,
`lease_id`, `attempt`, `worker_id`.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.types import Processor

from scheduler_svc.config.settings import Settings

_QUIET = ("grpc", "sqlalchemy", "alembic", "asyncio")
"""Libraries that log every step."""

_UNSENT = ("grpc._cython.cygrpc", "InternalError")
"""The class of gRPC's exception for an unsent answer, by name: settings are read before gRPC is imported."""

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logging(settings: Settings) -> None:
    """Configures structlog and the root logger, also for loggers that exist already."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    format_ = settings.log_format or ("console" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=_rendering(format_), foreign_pre_chain=[*_SHARED, _name_the_logger]
        )
    )
    handler.addFilter(_is_our_concern)
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


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
