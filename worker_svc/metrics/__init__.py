"""What a worker tells Prometheus: its metrics.

Layer: beside guard and spool, above config. `catalog.py` declares every metric; `docs/metrics.md` is made from it.
"""

from worker_svc.metrics.catalog import WorkerMetrics

__all__ = ["WorkerMetrics"]
