"""The dashboard for Grafana, and what it asks."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, NamedTuple

from tests.verification.monitoring.rules import ROOT

DASHBOARD = ROOT / "deploy" / "grafana" / "contentgen.json"


class Query(NamedTuple):
    """What one target of a panel asks."""

    panel: str
    expression: str
    legend: str


@cache
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def panels() -> list[dict[str, Any]]:
    """Those that show something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    return [
        Query(panel["title"], target["expr"].replace("$__rate_interval", "5m"), target["legendFormat"])
        for panel in panels()
        for target in panel["targets"]
    ]
