"""A stack for each scenario."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.stack import Stack, running_stack


@pytest.fixture
def stack(db_url: str) -> Iterator[Stack]:
    """Schedulers and workers to be started, on a database of the test's own; at its end nothing may be left."""
    with running_stack(db_url) as stack:
        yield stack
