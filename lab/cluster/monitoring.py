"""Prometheus with the rules of deploy/prometheus, as they are, and what it says of alerts. Below `cluster`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.harness.scrape import get

DEPLOYED = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = "contentgen.rules.yaml"
PATIENCE = 1.0
"""Seconds for an answer of a process on this machine."""


class Alert(NamedTuple):
    """One that is pending or fires."""

    name: str
    instance: str
    """The process that it is about; empty: several."""
    state: str
    severity: str
    runbook: str
    """The page's path."""

    @property
    def fires(self) -> bool:
        return self.state == "firing"


def write_settings(folder: Path) -> Path:
    """Those of deploy/prometheus, but for the targets, which `write_targets` changes."""
    shutil.copy(DEPLOYED / RULES, folder / RULES)
    settings = yaml.safe_load((DEPLOYED / "prometheus.yaml").read_text(encoding="utf-8"))
    for job in settings["scrape_configs"]:
        del job["static_configs"]
        job["file_sd_configs"] = [{"files": [_targets(job["job_name"])]}]
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def write_targets(folder: Path, kind: str, probes: Iterable[tuple[str, int]]) -> None:
    """Names and ports of the schedulers or workers; Prometheus sees a new file at once."""
    groups = [{"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in probes]
    new = folder / f"{kind}.new"
    new.write_text(yaml.safe_dump(groups), encoding="utf-8")
    new.replace(folder / _targets(f"contentgen-{kind}"))


def _targets(job: str) -> str:
    return f"{job}.targets.yaml"


def alerts(port: int) -> list[Alert]:
    """Those of this moment, the firing ones first. Raises OSError, ValueError: it does not answer."""
    status, text = get(port, "/api/v1/alerts", patience=PATIENCE)
    if status != 200:
        raise ValueError(f"Prometheus answers {status}")
    entries = [
        _alert(entry["labels"], entry["annotations"], entry["state"]) for entry in json.loads(text)["data"]["alerts"]
    ]
    return sorted(entries, key=lambda alert: (not alert.fires, alert.severity, alert.name, alert.instance))


def _alert(labels: Mapping[str, str], annotations: Mapping[str, str], state: str) -> Alert:
    return Alert(labels["alertname"], labels.get("instance", ""), state, labels["severity"], annotations["runbook_url"])
