"""What a worker does with TERM: the first drains, the second does not wait, one in its last moment is nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
import uvloop

from contentgen.service.logs import LEVEL_SIGNALS
from worker_svc.session.service import ProcessSignals

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """As they were before: a program that a later test starts would ignore what this process ignores."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, *LEVEL_SIGNALS)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_in_the_last_moment_is_ignored() -> None:
    async def worker() -> None:
        signals = ProcessSignals()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.drain.wait(), 5)
        assert not signals.stop.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.stop.wait(), 5)
        signals.ignore()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(worker())
    os.kill(os.getpid(), signal.SIGTERM)  # would kill this process
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
