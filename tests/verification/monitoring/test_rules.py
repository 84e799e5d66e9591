"""The rules for Prometheus: promtool's own tests, what exists, and a runbook for each alert that can be followed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from scheduler_svc.metrics.catalog import ATTEMPT_ENDS
from tests.contract.operators.transcript import run
from tests.harness.programs import program
from tests.harness.scripted_server import scripted
from tests.harness.setting_names import NAMES
from tests.verification.monitoring.expressions import existing, problems
from tests.verification.monitoring.rules import FOLDER, ROOT, RUNBOOKS, TESTS, Alert, alerts, known, recording

PAGES = sorted(RUNBOOKS.iterdir())
SECTIONS = ["## What it means", "## How to see it", "## What to do", "## When to worry"]
STAND_INS = {
    "TASK": "task-0000000000000001",
    "DELIVERY …": "7",
    "ID": "7",
    "N": "10",
    "SLOTS": "2",
    "URL": "https://a.example",
}
"""For what a page leaves open in its commands."""

_COMMAND = re.compile(r"(?:^|`)contentgen ([^`#|\n]+)", re.MULTILINE)
_METRIC = re.compile(r"\b(?:contentgen|grpc_server|process)_[a-z_]+[a-z]\b")
_SETTING = re.compile(r"\b(?:CONTENTGEN|CREATOR)_[A-Z_]+[A-Z]\b")


def promtool(*arguments: str) -> None:
    command = [program("promtool"), *arguments]
    environment = os.environ | {"GOGC": "800"}  # it collects garbage less often
    ran = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_promtool_accepts_the_rules_and_the_settings() -> None:
    promtool("check", "config", "prometheus.yaml")


@pytest.mark.costly("promtool evaluates every rule at every moment of each test")
def test_promtools_tests_pass() -> None:
    promtool("test", "rules", TESTS.name)


def test_each_alert_is_tested_while_all_is_well_and_while_it_is_not() -> None:
    tests = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    names = {alert.name for alert in alerts()}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_promtools_tests_use_series_that_exist() -> None:
    tests = yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
    series = {entry["series"] for test in tests for entry in test["input_series"]}
    findings = [problem for name in sorted(series) for problem in problems(name, existing())]
    assert [problem for problem in findings if " that is " not in problem] == []  # not each value is known


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_uses_what_exists(alert: Alert) -> None:
    assert list(problems(alert.expression, known())) == []


@pytest.mark.parametrize("name", recording())
def test_a_recorded_expression_uses_what_exists(name: str) -> None:
    assert list(problems(recording()[name], existing())) == []


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alert_says_what_it_is_and_leads_to_its_runbook(alert: Alert) -> None:
    assert re.fullmatch(r"Contentgen(?:[A-Z][a-z]+)+", alert.name)
    assert alert.severity in {"critical", "warning"}
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert alert.annotations["runbook_url"] == f"docs/runbooks/{alert.name}.md"


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert [page.name for page in PAGES] == sorted(f"{alert.name}.md" for alert in alerts())


def test_the_operators_guide_lists_each_alert() -> None:
    guide = (ROOT / "docs" / "operators.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| (critical|warning) \|", guide, re.MULTILINE)
    assert listed == [(alert.name, alert.name, alert.severity) for alert in alerts()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_runbook_says_what_to_do_and_names_what_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    (severity,) = (alert.severity for alert in alerts() if alert.name == page.stem)
    assert text.startswith(f"# {page.stem}\n\n{severity.capitalize()}. ")
    assert re.findall(r"^## .*", text, re.MULTILINE) == SECTIONS
    assert "contentgen doctor" in text or re.search(r"contentgen --scheduler \S+ doctor", text)
    assert sorted(set(_METRIC.findall(text)) - set(existing())) == []
    assert sorted(set(_SETTING.findall(text)) - NAMES["scheduler"] - NAMES["worker"] - ATTEMPT_ENDS) == []


def test_the_commands_of_runbooks_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a server that knows no call, so that nothing comes of them but that they were understood."""
    monkeypatch.chdir(tmp_path)
    commands = {call.strip() for page in PAGES for call in _COMMAND.findall(page.read_text(encoding="utf-8"))}
    assert len(commands) > 20
    with scripted() as target:
        ended = {call: run(*_filled(call, target)).status for call in sorted(commands)}
    assert {call: status for call, status in ended.items() if status not in {0, 1, 4}} == {}


def _filled(call: str, target: str) -> list[str]:
    words = shlex.split(re.sub(r"--scheduler \S+ ", "", call))
    filled = " ".join(words)
    for open_word, value in STAND_INS.items():
        filled = re.sub(rf"(?<!\S){re.escape(open_word)}(?!\S)", value, filled)
    return ["-s", target, *shlex.split(filled)]


def test_a_rule_that_names_what_does_not_exist_is_found() -> None:
    wrong = (
        'sum by (queue) (rate(contentgen_attempts_total{reason="LOST"}[5m])) / contentgen_worker_slots{slot="1"} + gone'
    )
    assert list(problems(wrong, known())) == [
        "contentgen_attempts_total has no reason that is LOST",
        "contentgen_worker_slots has no label slot",
        "there is no gone",
        "nothing there has a label queue",
    ]
