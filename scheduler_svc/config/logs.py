"""Logging: structlog, one event a line on stderr, other libraries' included. Part of `scheduler_svc.config`.

An event says what happened in its text, and in keys which one: `action` (a short fixed word), and where they apply
`task_id`, `lease_id`, `attempt`, `worker_id`.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.types import Processor

from scheduler_svc.config.settings import Settings

_QUIET = ("grpc", "sqlalchemy", "alembic", "asyncio")
"""Libraries whose every step is no news."""

_UNSENT = ("grpc._cython.cygrpc", "InternalError")
"""What gRPC raises then, by name: settings are read without it."""

_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logging(settings: Settings) -> None:
    """Sets up structlog and the root logger. Loggers that were made before follow too."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    format_ = settings.log_format or ("console" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=_rendering(format_), foreign_pre_chain=[*_SHARED, _name_the_logger]
        )
    )
    handler.addFilter(_has_a_hearer)
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


def _has_a_hearer(record: logging.LogRecord) -> bool:
    """Keeps for debugging what gRPC logs as an error of ours: that an answer could not be sent, to one who hung up."""
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
