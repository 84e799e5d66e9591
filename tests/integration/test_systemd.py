"""The units of deploy/systemd: valid and hardened as systemd sees it, and in step with the settings that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from console_svc.serving import STOP_TIMEOUT as CONSOLE_STOP_TIMEOUT
from scheduler_svc.main import SHUTDOWN_TIMEOUT
from tests.harness.process import installed, run_to_end
from tests.harness.programs import program
from tests.harness.setting_names import NAMES
from worker_svc.config import WorkerSettings
from worker_svc.session.service import STOP_TIMEOUT

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy/systemd"
DOCS = ROOT / "docs/deployment.md"
LIMIT = 60

services = pytest.mark.parametrize("service", NAMES)


def unit(service: str) -> str:
    return (UNITS / f"contentgen-{service}.service").read_text()


def value(service: str, key: str) -> str:
    [text] = re.findall(rf"^{key}=(.*)$", unit(service), re.MULTILINE)
    return str(text)


@pytest.fixture
def put(service: str, tmp_path: Path) -> Path:
    """The unit, with the programs of this environment."""
    path = tmp_path / f"contentgen-{service}.service"
    path.write_text(unit(service).replace("/opt/contentgen/bin", str(installed("python").parent)))
    return path


@services
def test_systemd_finds_nothing_wrong(put: Path) -> None:
    checked = run_to_end([program("systemd-analyze"), "verify", "--man=no", put], within=LIMIT)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@services
def test_the_exposure_is_the_one_that_the_docs_name(service: str, put: Path) -> None:
    checked = run_to_end([program("systemd-analyze"), "security", "--offline=yes", "--no-pager", put], within=LIMIT)
    assert checked.returncode == 0, checked.stderr
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+) OK", checked.stdout)
    assert float(level) < (3 if service == "worker" else 2)  # a worker changes users
    version = run_to_end([program("systemd-analyze"), "--version"], within=LIMIT).stdout.split()[1]
    if f"`systemd-analyze security` ({version})" in DOCS.read_text():  # another version may look at more
        assert f"| `contentgen-{service}.service` | {level} |" in DOCS.read_text()


def test_a_stop_leaves_time_for_the_drain() -> None:
    assert value("scheduler", "TimeoutStopSec") == "15s"
    assert SHUTDOWN_TIMEOUT + 5 <= 15
    assert value("console", "TimeoutStopSec") == "15s"
    assert CONSOLE_STOP_TIMEOUT + 5 <= 15
    assert value("worker", "TimeoutStopSec") == "11min"
    assert "CONTENTGEN_DRAIN_TIMEOUT=10m" in value("worker", "Environment")
    assert WorkerSettings.model_fields["drain_timeout"].default == 600
    assert STOP_TIMEOUT < 60


@services
def test_only_the_service_itself_is_told_to_stop(service: str) -> None:
    assert value(service, "KillMode") == "mixed"


@services
def test_the_settings_are_checked_before_a_start(service: str) -> None:
    assert value(service, "ExecStartPre") == f"{value(service, 'ExecStart')} config check"


@services
def test_the_settings_exist(service: str) -> None:
    named = re.findall(r"^#?([A-Z_]+)=", (UNITS / f"{service}.env").read_text(), re.MULTILINE)
    lines = re.findall("^Environment=(.*)$", unit(service), re.MULTILINE)
    named += [pair.partition("=")[0] for line in lines for pair in line.split()]
    assert len(named) > 5
    assert set(named) - NAMES[service] == set()
