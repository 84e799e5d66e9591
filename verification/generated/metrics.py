"""Keeps `docs/reference/metrics.md` equal to the metrics that all services declare: `--write` makes it so.

Run by `make verify`. It also checks Prometheus' conventions: a prefix, base units, `_total` for counters and for them
alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from console_svc.metrics import ConsoleMetrics
from contentgen.service.metrics import Declared
from scheduler_svc.metrics import Metrics
from verification.generated.document import differences
from worker_svc.metrics import WorkerMetrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"

_NAME = re.compile(r"(?:contentgen|grpc_server)_[a-z][a-z_]*[a-z]")
_OTHER_UNITS = re.compile(r"_(?:ms|millis|milliseconds|minutes|hours|percent|kb|mb)(?:_|$)")
_HEAD = """\
# Metrics

<!-- made by `python -m verification.generated.metrics --write` from what the services declare -->

What a scheduler, a worker and a console tell Prometheus at `/metrics` of `CONTENTGEN_METRICS_LISTEN`.
[Monitoring](../how-to/monitoring.md) says how to scrape them.

Times are in seconds. A histogram also has `_bucket`, `_sum` and `_count`. Beside these, each process has those of the
client library: `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds`, `process_max_fds`,
`process_virtual_memory_bytes` and `process_start_time_seconds`.

No label names a task, a worker or a caller: each has a small, fixed set of values. An account is named only if
`CONTENTGEN_METRICS_ACCOUNTS` names it.
"""


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 if the document is right (now), else 1 with what is wrong on the standard output."""
    services: dict[str, Sequence[Declared]] = {
        "scheduler": Metrics("").declared,
        "worker": WorkerMetrics().declared,
        "console": ConsoleMetrics().declared,
    }
    findings = differences(DOCUMENT, document(services), arguments)
    findings += [problem for metrics in services.values() for metric in metrics for problem in problems(metric)]
    print("\n".join(findings) or "docs/reference/metrics.md lists the metrics of all services")
    return 1 if findings else 0


def document(services: Mapping[str, Sequence[Declared]]) -> str:
    lines = [_HEAD]
    for service, metrics in services.items():
        lines += [f"## Of a {service}\n", "| metric | type | labels | what it says |", "|---|---|---|---|"]
        lines += map(_row, metrics)
        lines.append("")
    return "\n".join(lines)


def problems(metric: Declared) -> Iterator[str]:
    """Yields where a metric does not follow the conventions."""
    if not _NAME.fullmatch(metric.name):
        yield f"{metric.name}: must begin with contentgen_ or grpc_server_"
    if _OTHER_UNITS.search(metric.name):
        yield f"{metric.name}: must be in a base unit, such as seconds"
    if (metric.kind == "counter") != metric.name.endswith("_total"):
        yield f"{metric.name}: a counter, and nothing else, ends with _total"
    if not metric.documentation.endswith("."):
        yield f"{metric.name}: its help must be a sentence"


def _row(metric: Declared) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.documentation} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
