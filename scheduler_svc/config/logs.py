"""The scheduler's logs. Part of `scheduler_svc.config`."""

from __future__ import annotations

import logging

from contentgen.service import logs
from scheduler_svc.config.settings import Settings

_UNSENT = ("grpc._cython.cygrpc", "InternalError")
"""The class of gRPC's exception for an unsent answer, by name: settings are read before gRPC is imported."""


def configure_logging(settings: Settings) -> None:
    """Configures structlog and the root logger, also for loggers that exist already."""
    logs.configure_logging(settings.log_level, settings.log_format, filters=[_is_our_concern])


def _is_our_concern(record: logging.LogRecord) -> bool:
    """Drops, unless debugging, gRPC's errors about answers that could not be sent because the caller hung up."""
    kinds = record.exc_info[0].__mro__ if record.exc_info and record.exc_info[0] else ()
    unsent = any((kind.__module__, kind.__name__) == _UNSENT for kind in kinds)
    return not unsent or logging.root.level <= logging.DEBUG
