"""The rules for Prometheus, and what is beside them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.verification.monitoring.expressions import Metric, existing, recorded

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "contentgen.rules.yaml"
TESTS = FOLDER / "contentgen.test.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"


class Alert(NamedTuple):
    """An alerting rule."""

    name: str
    expression: str
    severity: str
    annotations: Mapping[str, str]


@cache
def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> list[Alert]:
    """In the order of the file."""
    rules = [rule for rule in _rules() if "alert" in rule]
    return [Alert(rule["alert"], rule["expr"], rule["labels"]["severity"], rule["annotations"]) for rule in rules]


def recording() -> Mapping[str, str]:
    """The expressions that are recorded, by the names of their series."""
    return {rule["record"]: rule["expr"] for rule in _rules() if "record" in rule}


@cache
def known() -> Mapping[str, Metric]:
    """What an expression may use: what is scraped, and what is recorded."""
    return {**existing(), **{name: recorded(expression, existing()) for name, expression in recording().items()}}
