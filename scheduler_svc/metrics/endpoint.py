"""The address of metrics and probes, as a setting."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from contentgen.metrics_endpoint import ListenError, MetricsEndpoint, Probe
from scheduler_svc.config import Address, SettingsError


def serve_metrics(address: Address, registry: CollectorRegistry, *, live: Probe, ready: Probe) -> MetricsEndpoint:
    """Raises SettingsError if it can't listen on `address`."""
    try:
        return MetricsEndpoint(address.host, address.port, registry, live=live, ready=ready)
    except ListenError as error:
        raise SettingsError([str(error)]) from None
