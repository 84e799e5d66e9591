"""Logs: structlog, one event a line on stderr, other libraries' too; readable on a terminal, JSON elsewhere.

An event's text says what happened; its keys say where: `action` (a fixed word), and, if they apply, `task_id`,
`lease_id`, `attempt`, `worker_id`.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Sequence

import structlog
from structlog.typing import EventDict, Processor

LEVEL_SIGNALS = (_DEBUG, _AS_SET) = (signal.SIGUSR1, signal.SIGUSR2)
MAX_TEXT = 1_000
"""Characters of a value: what a peer sends fills no disk."""

_QUIET = ("alembic", "asyncio", "grpc", "opentelemetry", "sqlalchemy", "urllib3")
"""Libraries that log every step."""

_log = structlog.get_logger(__name__)

Filter = Callable[[logging.LogRecord], bool]


def _bounded(_logger: object, _method: str, event: EventDict) -> EventDict:
    long = {key: f"{text[:MAX_TEXT]}…" for key, text in event.items() if isinstance(text, str) and len(text) > MAX_TEXT}
    return {**event, **long} if long else event


def _name_the_logger(_logger: object, _method: str, event: EventDict) -> EventDict:
    event["logger"] = event["_record"].name
    return event


_SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    _bounded,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logging(
    level: str, form: str | None, *, filters: Sequence[logging.Filter | Filter] = (), last: Sequence[Processor] = ()
) -> None:
    """Configures structlog and the root logger, also for loggers that exist already.

    Args:
        level: debug, info, warning or error.
        form: console or json; None: console on a terminal, else JSON.
        filters: what lets events pass.
        last: processors before an event is rendered.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[*last, *_rendering(form or ("console" if sys.stderr.isatty() else "json"))],
            foreign_pre_chain=[*_SHARED, _name_the_logger],
        )
    )
    for log_filter in filters:
        handler.addFilter(log_filter)
    logging.root.handlers = [handler]
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    _set_level(_number(level))


def ignore_level_signals() -> None:
    """Ignores USR1 and USR2, which would end a process that does not follow them."""
    for number in LEVEL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def follow_level_signals(loop: asyncio.AbstractEventLoop, level: str) -> None:
    """Has USR1 set the level to debug, and USR2 set it back to `level`."""
    loop.add_signal_handler(_DEBUG, _change_level, logging.DEBUG)
    loop.add_signal_handler(_AS_SET, _change_level, _number(level))


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


def _rendering(form: str) -> list[Processor]:
    without_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if form == "console":
        plain = structlog.dev.plain_traceback  # the default shows locals, and so topics and tokens
        return [without_meta, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    return [without_meta, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
