"""What a service tells Prometheus, and its probes."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families

from tests.harness.waiting import PATIENCE_S


def get(port: int, path: str, method: str = "GET", patience: float = PATIENCE_S) -> tuple[int, str]:
    """Returns the status and the body. `patience` is in seconds."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=patience)) as connection:
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
