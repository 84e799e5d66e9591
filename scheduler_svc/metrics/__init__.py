"""What a replica tells Prometheus: its metrics. All subjects count in it.

`catalog.py` declares every metric; `docs/reference/metrics.md` is made from it.
"""

from scheduler_svc.metrics.catalog import DatabaseMetrics, LaneMetrics, Metrics, RpcMetrics

__all__ = ["DatabaseMetrics", "LaneMetrics", "Metrics", "RpcMetrics"]
