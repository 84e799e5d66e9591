"""Asks each scheduler for its health, a few times a second, and journals each change of what it says. Beside `load`."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from lab.chaos.evidence import HealthSeen
from lab.chaos.journals import Appender

_EVERY = 0.25
_CALL_TIMEOUT = 0.5
_OPTIONS = (("grpc.max_reconnect_backoff_ms", 500),)


class HealthWatch:
    """A thread of its own from `start` to `stop`."""

    def __init__(self, targets: Mapping[str, str], journal: Appender) -> None:
        """`targets`: the schedulers' own addresses, past all wires, by name."""
        self._targets = targets
        self._journal = journal
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health-watch")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Idempotent."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        states: dict[str, bool] = {}
        with ExitStack() as stack:
            stubs: dict[str, Any] = {
                name: HealthStub(stack.enter_context(grpc.insecure_channel(target, _OPTIONS)))
                for name, target in self._targets.items()
            }
            while not self._over.wait(_EVERY):
                for name, stub in stubs.items():
                    serving = _asked(stub)
                    if serving is not None and states.get(name) is not serving:
                        states[name] = serving
                        self._journal.append(HealthSeen(name, serving, time.time()))


def _asked(stub: Any) -> bool | None:
    """Returns whether a scheduler serves. Returns None if it does not answer."""
    try:
        answer = stub.Check(HealthCheckRequest(), timeout=_CALL_TIMEOUT)
    except grpc.RpcError:
        return None
    return bool(answer.status == HealthCheckResponse.SERVING)
