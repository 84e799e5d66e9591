"""The application on a database of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.scheduling import Scheduling


@pytest.fixture
def scheduling(db_url: str) -> Iterator[Scheduling]:
    made = Scheduling(db_url)
    try:
        yield made
        made.check()
    finally:
        made.close()
