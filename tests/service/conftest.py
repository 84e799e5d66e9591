"""What tests of the services' kit share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.harness.settings import unset


@pytest.fixture
def logging_as_before() -> Iterator[None]:
    """Undoes what a test sets up for the whole process, which other tests' schedulers use."""
    before, handlers = structlog.get_config(), logging.root.handlers[:]
    loggers = [logging.root, *map(logging.getLogger, [*logging.root.manager.loggerDict, "grpc", "grpc._common"])]
    levels = [logger.level for logger in loggers]
    yield
    structlog.configure(**before)
    logging.root.handlers[:] = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    unset(monkeypatch)
