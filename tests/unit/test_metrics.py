"""The metrics that both services declare, and the document that lists them."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from contentgen.service.metrics import Declared
from scheduler_svc.domain.ids import make_key
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.metrics import Metrics
from scheduler_svc.metrics.distribution import Distribution
from scheduler_svc.runtime.signals import EventRow
from verification.generated import metrics as generated
from verification.generated.metrics import main, problems


def test_the_document_is_what_the_services_declare() -> None:
    assert main([]) == 0


def test_a_stale_document_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "metrics.md"
    stale.write_text(generated.DOCUMENT.read_text().replace("contentgen_build_info", "contentgen_built"))
    monkeypatch.setattr(generated, "DOCUMENT", stale)
    assert main([]) == 1
    assert main(["--write"]) == 0
    assert main([]) == 0


@pytest.mark.parametrize(
    "metric",
    [
        Declared("tasks_total", "counter", "Tasks.", ()),
        Declared("contentgen_tasks", "counter", "Tasks.", ()),
        Declared("contentgen_tasks_total", "gauge", "Tasks.", ()),
        Declared("contentgen_wait_ms", "histogram", "Waits.", ()),
        Declared("contentgen_tasks", "gauge", "Tasks", ()),
    ],
)
def test_a_metric_that_follows_no_convention_is_found(metric: Declared) -> None:
    assert len(list(problems(metric))) == 1


def test_a_distribution_counts_a_group_into_its_buckets() -> None:
    registry = CollectorRegistry()
    distribution = Distribution("waits", "Waits.", "priority", (1.0, 5.0))
    registry.register(distribution)
    distribution.observe("5", [0.5, 1.0, 2.0, 9.0])
    distribution.observe("5", [5.0])
    counts = {
        le: registry.get_sample_value("waits_bucket", {"priority": "5", "le": le}) for le in ("1.0", "5.0", "+Inf")
    }
    assert counts == {"1.0": 2, "5.0": 4, "+Inf": 5}
    assert registry.get_sample_value("waits_sum", {"priority": "5"}) == 17.5
    assert registry.get_sample_value("waits_count", {"priority": "5"}) == 5
    assert registry.get_sample_value("waits_count", {"priority": "6"}) is None


def _move(key: int, source: Status, target: Status, reason: str) -> EventRow:
    return EventRow(key, source, target, 1, 7, "w1", reason, None, None)


def test_moves_are_counted_with_attempts_retries_and_ends() -> None:
    first, second, third = (make_key(1_000, n) for n in (1, 2, 3))
    metrics = Metrics("1")
    metrics.moved(
        [
            _move(first, Status.PROCESSING, Status.COMPLETED, "COMPLETED"),
            _move(second, Status.PROCESSING, Status.FAILED, "WORKER_LOST"),
            _move(second, Status.FAILED, Status.PENDING, "REQUEUED"),
            _move(third, Status.PROCESSING, Status.FAILED, "A_REASON_OF_A_LATER_VERSION"),
        ]
    )

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"contentgen_{name}", labels)

    assert value("task_moves_total", source="processing", target="failed") == 2
    assert value("task_moves_total", source="failed", target="pending") == 1
    assert value("attempts_total", reason="COMPLETED") == 1
    assert value("attempts_total", reason="WORKER_LOST") == 1
    assert value("attempts_total", reason="OTHER") == 1
    assert value("task_retries_total", kind="lost") == 1
    assert value("task_seconds_count", status="completed") == 1
    assert value("task_seconds_count", status="failed") == 1
