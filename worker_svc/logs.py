"""The worker's logs.

Layer: beside config, used by main.
"""

from __future__ import annotations

import logging

from contentgen.service import logs

_REDUNDANT_LOGGER = "grpc._common"
"""Logs a traceback for a malformed message. The stream ends then, which the worker logs itself."""


def configure_logging(level: str, form: str | None) -> None:
    """Configures structlog and the root logger. If `form` is None: console on a terminal, else JSON."""
    logs.configure_logging(level, form)
    logging.getLogger(_REDUNDANT_LOGGER).setLevel(logging.CRITICAL)
