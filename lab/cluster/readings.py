"""What the processes say of themselves, read again and again in a thread, and what Prometheus says of alerts.

Prometheus and Alertmanager have the rules and routes of deploy/prometheus, as they are. Below `cluster`.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import yaml

from lab.deployment.deployment import every
from tests.harness.http_server import Handler
from tests.harness.receivers import Receiver
from tests.harness.scrape import get

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES, EXPECTED, ROUTES = "contentgen.rules.yaml", "contentgen.expected.yaml", "alertmanager.yaml"
PATIENCE = 1.0
"""Seconds for an answer of a process on this machine."""


class Alert(NamedTuple):
    name: str
    instance: str
    """The process that it is about; empty: several."""
    state: str
    severity: str
    runbook: str

    @property
    def fires(self) -> bool:
        return self.state == "firing"


class Pager(Receiver):
    """Who is alerted: takes what Alertmanager sends, and knows when."""

    def __init__(self) -> None:
        super().__init__(self._take)
        self._arrivals: list[tuple[float, tuple[str, str]]] = []

    def first(self, alerts: Container[tuple[str, str]], since: float) -> float | None:
        """Returns the seconds from `since` until the first of these came, by name and instance; None: none has."""
        return next((came - since for came, alert in self._arrivals if came > since and alert in alerts), None)

    def _take(self, request: Handler) -> None:
        now = time.monotonic()
        labels = [alert["labels"] for alert in self.received.pop().message["alerts"] if alert["status"] == "firing"]
        self._arrivals += [(now, (each["alertname"], each.get("instance", ""))) for each in labels]
        request.answer(204)


def write_settings(folder: Path, alertmanager: int, expected: Mapping[str, int]) -> Path:
    """Writes those of deploy/prometheus, but for the targets, which `write_targets` changes.

    `alertmanager` is its port, `expected` how many processes there should be, by role.
    """
    settings = yaml.safe_load((DEPLOYED / "prometheus.yaml").read_text(encoding="utf-8"))
    settings["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]
    shutil.copy(DEPLOYED / RULES, folder / RULES)
    numbers = (DEPLOYED / EXPECTED).read_text(encoding="utf-8")
    for role, number in expected.items():
        numbers = re.sub(rf"(role: {role}}}.*vector)\(\d+\)", rf"\1({number})", numbers)
    (folder / EXPECTED).write_text(numbers, encoding="utf-8")
    for job in settings["scrape_configs"]:
        del job["static_configs"]
        job["file_sd_configs"] = [{"files": [_targets(job["job_name"])]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def write_routes(folder: Path, pager: Pager) -> Path:
    """Writes those of deploy/prometheus, with `pager` for every receiver."""
    text = (DEPLOYED / ROUTES).read_text(encoding="utf-8")
    (folder / ROUTES).write_text(re.sub("url_file: .*", f"url: {pager.url}", text), encoding="utf-8")
    return folder / ROUTES


def write_targets(folder: Path, kind: str, probes: Iterable[tuple[str, int]]) -> None:
    """Names and ports of the schedulers or workers; Prometheus sees a new file at once."""
    groups = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in probes]
    new = folder / f"{kind}.new"
    new.write_text(yaml.safe_dump(groups), encoding="utf-8")
    new.replace(folder / _targets(f"contentgen-{kind}"))


def _targets(job: str) -> str:
    return f"{job}.targets.yaml"


def alerts(port: int) -> list[Alert]:
    """Returns those of this moment, the firing ones first. Raises OSError, ValueError: it does not answer."""
    status, text = get(port, "/api/v1/alerts", patience=PATIENCE)
    if status != 200:
        raise ValueError(f"Prometheus answers {status}")
    entries = []
    for entry in json.loads(text)["data"]["alerts"]:
        labels, page = entry["labels"], entry["annotations"]["runbook_url"]
        entries.append(Alert(labels["alertname"], labels.get("instance", ""), entry["state"], labels["severity"], page))
    return sorted(entries, key=lambda alert: (not alert.fires, alert.severity, alert.name, alert.instance))


Samples = Mapping[str, float]
"""By name; samples that differ in their labels only are added up, or for `_MAXIMA` the largest is taken."""

_MAXIMA = frozenset({"contentgen_queue_oldest_seconds", "contentgen_lane_oldest_seconds"})
_PARTS = {
    'contentgen_task_moves_total{source="processing",target="completed"}': "completed",
    'contentgen_worker_leases_total{end="completed"}': "completed",
    'contentgen_leases{stage="processing"}': "running",
}
"""Samples that count by themselves, too, and their names then."""


@dataclass(frozen=True, slots=True)
class Reading:
    """As of one moment. A process that did not answer is not in it."""

    taken: float = 0.0
    """When it was begun, by the monotonic clock."""
    samples: Mapping[str, Samples] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    """Tasks a second, by process."""
    alerts: Sequence[Alert] | None = None
    """None: Prometheus does not answer."""

    def largest(self, name: str) -> float:
        """Returns that of a sample that is the same for all schedulers, or nearly so."""
        return max((samples.get(name, 0.0) for samples in self.samples.values()), default=0.0)

    @property
    def firing(self) -> set[Alert]:
        return {alert for alert in self.alerts or () if alert.fires}


class Readings:
    """Within `going_on`, `last` is never older than some seconds."""

    def __init__(self, targets: Callable[[], Mapping[str, int]], prometheus: int | None) -> None:
        """`targets` are the ports of metrics by process, `prometheus` is its port."""
        self.last = Reading()
        self._targets = targets
        self._prometheus = prometheus
        self._completed: dict[str, deque[tuple[float, float]]] = defaultdict(deque)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        with (
            ThreadPoolExecutor(48, thread_name_prefix="reading") as pool,
            every(0.5, lambda: self._read(pool), "readings"),
        ):
            yield

    def _read(self, pool: ThreadPoolExecutor) -> None:
        moment, targets = time.monotonic(), self._targets()
        firing = pool.submit(self._alerts)
        results = dict(zip(targets, pool.map(_samples, targets.values()), strict=True))
        samples = {name: sample for name, sample in results.items() if sample is not None}
        rates = {name: self._rate(name, sample.get("completed", 0.0)) for name, sample in samples.items()}
        self.last = Reading(moment, samples, rates, firing.result())

    def _alerts(self) -> Sequence[Alert] | None:
        with suppress(OSError, HTTPException, ValueError):
            return None if self._prometheus is None else alerts(self._prometheus)
        return None

    def _rate(self, name: str, completed: float) -> float:
        now, counts = time.monotonic(), self._completed[name]
        if counts and completed < counts[-1][1]:
            counts.clear()  # it was started anew
        counts.append((now, completed))
        while now - counts[0][0] > 10.0:
            counts.popleft()
        then, before = counts[0]
        return (completed - before) / (now - then) if now > then else 0.0


def _samples(port: int) -> Samples | None:
    with suppress(OSError, HTTPException):
        status, text = get(port, "/metrics", patience=PATIENCE)
        return parsed(text) if status == 200 else None
    return None


def parsed(text: str) -> Samples:
    """Returns what is shown of Prometheus' text, which holds ten times more."""
    totals: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("contentgen_"):
            continue
        labelled, _, value = line.rpartition(" ")
        name = labelled.partition("{")[0]
        if name.endswith("_bucket"):
            continue
        number = float(value)
        totals[name] = max(totals.get(name, 0.0), number) if name in _MAXIMA else totals.get(name, 0.0) + number
        if labelled in _PARTS:
            totals[_PARTS[labelled]] = number
    return totals
