"""What a replica tells Prometheus: its metrics, and the address that serves them. Below `api`, `loops` and `store`.

`catalog.py` declares every metric; `docs/metrics.md` is made from it.
"""

from scheduler_svc.metrics.catalog import DatabaseMetrics, LaneMetrics, Metrics, RpcMetrics
from scheduler_svc.metrics.endpoint import MetricsEndpoint

__all__ = ["DatabaseMetrics", "LaneMetrics", "Metrics", "MetricsEndpoint", "RpcMetrics"]
