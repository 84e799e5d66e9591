"""Reads what a service tells Prometheus, and its probes."""

from __future__ import annotations

from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families

_PATIENCE_S = 60.0


def get(port: int, path: str, method: str = "GET", patience: float = _PATIENCE_S) -> tuple[int, str]:
    """The status and the body. `patience` is in seconds."""
    connection = HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Scrape:
    """The samples of one scrape."""

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
        """A sample; 0 if there is none."""
        return self._samples.get((name, frozenset(labels.items())), 0.0)
