"""A small autoscaler: it asks ExternalScaler as KEDA does, and counts replicas as the HorizontalPodAutoscaler does.

The rule is Kubernetes' own: as many replicas as the demand divided by what one of them takes, rounded up; up at once,
down to the highest number that was wanted within the stabilization window.
(https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/)
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

import grpc

from tests.harness.scrape import Keda


@dataclass(frozen=True, slots=True)
class Scaling:
    """`target`: tasks for each worker. `stabilization` and `poll` in seconds."""

    target: int
    max_workers: int
    stabilization: float
    poll: float


class Autoscaler:
    """What one trigger of KEDA wants."""

    def __init__(self, channel: grpc.Channel, scaling: Scaling) -> None:
        self._keda = Keda(channel, scaling.target)
        self._scaling = scaling
        self._wanted: deque[tuple[float, int]] = deque()

    def demand(self) -> int:
        """Tasks that run or may run now."""
        return self._keda.metric()[0]

    def replicas(self, demand: int) -> int:
        """Workers to run, now that there is this demand."""
        now = time.monotonic()
        number = min(math.ceil(demand / self._scaling.target), self._scaling.max_workers)
        self._wanted.append((now, number))
        while self._wanted[0][0] < now - self._scaling.stabilization:
            self._wanted.popleft()
        return max(count for _, count in self._wanted)
