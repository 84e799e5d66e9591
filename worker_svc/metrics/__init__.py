"""What a worker tells Prometheus: its metrics, and the address that serves them.

Layer: beside guard and spool, above config. `catalog.py` declares every metric; `docs/metrics.md` is made from it.
"""

from worker_svc.metrics.catalog import WorkerMetrics
from worker_svc.metrics.endpoint import serve_metrics

__all__ = ["WorkerMetrics", "serve_metrics"]
