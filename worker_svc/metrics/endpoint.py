"""The address of metrics and probes, as a setting.

Layer: inside metrics.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from contentgen.metrics_endpoint import ListenError, MetricsEndpoint, Probe
from worker_svc.config import SettingsError


def serve_metrics(address: str, registry: CollectorRegistry, *, live: Probe, ready: Probe) -> MetricsEndpoint:
    """Raises SettingsError if it can't listen on `address`, which is `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        return MetricsEndpoint(host.strip("[]"), int(port), registry, live=live, ready=ready)
    except ListenError as error:
        raise SettingsError([str(error)]) from None
