"""What a service tells Prometheus, its probes, and KEDA."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPConnection

import grpc
from prometheus_client.parser import text_string_to_metric_families

from contentgen.keda import externalscaler_pb2 as pb
from contentgen.keda.externalscaler_pb2_grpc import ExternalScalerStub
from tests.harness.waiting import PATIENCE_S

# Reads what a service tells Prometheus, and its probes.


def get(
    port: int, path: str, method: str = "GET", patience: float = PATIENCE_S, host: str = "127.0.0.1"
) -> tuple[int, str]:
    """Returns the status and the body. `patience` is in seconds."""
    with closing(HTTPConnection(host, port, timeout=patience)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()


class Scrape:
    def __init__(self, port: int) -> None:
        status, text = get(port, "/metrics")
        assert status == 200, text
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        """Returns a sample; 0 if there is none."""
        return self._samples.get((name, frozenset(labels.items())), 0.0)


# What KEDA asks one scheduler for a trigger.


CALL_TIMEOUT = 15.0


class Keda:
    """The calls of its operator. `target`: tasks for each worker."""

    def __init__(self, channel: grpc.Channel, target: int) -> None:
        self._stub = ExternalScalerStub(channel)
        self._ref = pb.ScaledObjectRef(name="workers", scalerMetadata={"targetPerWorker": str(target)})

    def active(self) -> bool:
        return self._stub.IsActive(self._ref, timeout=CALL_TIMEOUT).result

    def metric(self) -> tuple[int, int]:
        """Returns the tasks that run or may run now, and how many of them are one worker's."""
        (spec,) = self._stub.GetMetricSpec(self._ref, timeout=CALL_TIMEOUT).metricSpecs
        request = pb.GetMetricsRequest(scaledObjectRef=self._ref, metricName=spec.metricName)
        (value,) = self._stub.GetMetrics(request, timeout=CALL_TIMEOUT).metricValues
        return value.metricValue, spec.targetSize
