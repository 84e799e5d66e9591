"""What a killed campaign leaves does not live on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.harness.processes import belonging_to, living, process_of
from tests.harness.waiting import wait_until, wait_until_gone

_CAMPAIGN = """
import subprocess, sys
from pathlib import Path
from verification.chaos.undertaker import undertaken

with undertaken(Path(sys.stdin.readline().strip())):
    service = subprocess.Popen(["sleep", "600"], cwd=sys.argv[1], start_new_session=True)
    print(service.pid, flush=True)
    sys.stdin.read()
service.kill()
service.wait()
"""


def campaign(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _CAMPAIGN, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    print(folder, file=process.stdin, flush=True)
    return process


def test_the_services_of_a_killed_campaign_are_killed(tmp_path: Path) -> None:
    with campaign(tmp_path) as process:
        assert process.stdout is not None
        service = process_of(int(process.stdout.readline()))
        assert service is not None
        process.send_signal(signal.SIGKILL)
    wait_until_gone(lambda: living([service]), within=10, what="the service is gone")


def test_a_campaign_that_ends_by_itself_leaves_nothing_to_do(tmp_path: Path) -> None:
    with campaign(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        wait_until(lambda: belonging_to(tmp_path), within=10, what="the service runs")
        process.communicate("", timeout=10)
    assert (process.returncode, belonging_to(tmp_path)) == (0, [])
