"""What a replica tells Prometheus: its metrics. Below `api`, `loops` and `store`.

`catalog.py` declares every metric; `docs/metrics.md` is made from it.
"""

from scheduler_svc.metrics.catalog import DatabaseMetrics, LaneMetrics, Metrics, RpcMetrics

__all__ = ["DatabaseMetrics", "LaneMetrics", "Metrics", "RpcMetrics"]
