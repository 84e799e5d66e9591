"""What the picture of `make cluster` takes from Prometheus' text."""

from __future__ import annotations

from verification.cluster.readings import parsed

TEXT = """\
# TYPE contentgen_lease_streams gauge
contentgen_lease_streams 2.0
contentgen_queue_tasks{priority="5"} 3.0
contentgen_queue_tasks{priority="9"} 4.0
contentgen_queue_oldest_seconds{priority="5"} 7.5
contentgen_queue_oldest_seconds{priority="9"} 1.5
contentgen_task_moves_total{source="processing",target="completed"} 12.0
contentgen_task_moves_total{source="processing",target="failed"} 1.0
contentgen_transaction_seconds_bucket{le="0.1",pool="reads"} 9.0
python_info{version="3"} 1.0
"""


def test_samples_are_added_up_but_for_ages() -> None:
    assert parsed(TEXT) == {
        "contentgen_lease_streams": 2.0,
        "contentgen_queue_tasks": 7.0,
        "contentgen_queue_oldest_seconds": 7.5,
        "contentgen_task_moves_total": 13.0,
        "completed": 12.0,
    }
