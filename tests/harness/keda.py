"""What KEDA asks one scheduler for a trigger."""

from __future__ import annotations

import grpc

from contentgen.keda import externalscaler_pb2 as pb
from contentgen.keda.externalscaler_pb2_grpc import ExternalScalerStub

CALL_TIMEOUT = 15.0


class Keda:
    """The calls of its operator. `target`: tasks for each worker."""

    def __init__(self, channel: grpc.Channel, target: int) -> None:
        self._stub = ExternalScalerStub(channel)
        self._ref = pb.ScaledObjectRef(name="workers", scalerMetadata={"targetPerWorker": str(target)})

    def active(self) -> bool:
        return self._stub.IsActive(self._ref, timeout=CALL_TIMEOUT).result

    def metric(self) -> tuple[int, int]:
        """The tasks that run or may run now, and how many of them are one worker's."""
        (spec,) = self._stub.GetMetricSpec(self._ref, timeout=CALL_TIMEOUT).metricSpecs
        asked = pb.GetMetricsRequest(scaledObjectRef=self._ref, metricName=spec.metricName)
        (value,) = self._stub.GetMetrics(asked, timeout=CALL_TIMEOUT).metricValues
        return value.metricValue, spec.targetSize
