"""`make cluster` as it is called, without a terminal: a scheduler, a worker and the database are killed under load."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scheduler_svc.postgres.programs import find_bindir
from tests.command.test_processes import Operator
from tests.harness.cluster import server_folder
from tests.harness.process import Process, inherited, program
from tests.harness.processes import belonging_to, bury, children, living
from tests.harness.waiting import wait_until, wait_until_gone

pytestmark = pytest.mark.e2e

PATIENCE = 90.0
STOP_LIMIT = 15.0
SMALL = ("--schedulers", "2", "--workers", "2", "--rate", "4", "--lease", "5")
UP = " up after "
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
_BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
MANY = 20
UNDERTAKER = "lab.deployment.undertaker"


@contextmanager
def cluster(*arguments: str) -> Iterator[tuple[Process, Path]]:
    """The command, started, and the folder of all that it starts."""
    with server_folder() as folder:
        process = Process("cluster", command(folder, *arguments), folder / "log", inherited(), cwd=Path.cwd())
        with process:
            yield process, folder
            wait_until_gone(lambda: belonging_to(folder), within=STOP_LIMIT, what="nothing is left running")
        bury(folder)


def command(folder: Path, *arguments: str) -> list[str]:
    program("haproxy")
    return [sys.executable, "-m", "lab.cluster", *SMALL, "--folder", str(folder), *arguments]


def commands_of_runbooks() -> set[str]:
    """The first block of each, but for what is about one task or webhook, a manager of services, or a screen."""
    firsts = [_BLOCK.search(path.read_text(encoding="utf-8")) for path in RUNBOOKS.glob("*.md")]
    lines = {line.partition("  #")[0].strip() for block in firsts if block for line in block[1].splitlines()}
    ours = {line for line in lines if line.startswith(("contentgen", "curl", "psql"))}
    return {line for line in ours if not re.search(r"\b(ID|TASK|top)\b", line)}


def check_commands_of_runbooks(folder: Path) -> None:
    """They work in a shell that has read the cluster's file: `lab/cluster/README.md` says so."""
    (env,) = folder.glob("*/env")
    commands = commands_of_runbooks()
    assert len(commands) > MANY
    for command in ('test -d "$WORKER_2_DATA"', 'curl -sf "http://$WORKER_2_METRICS/livez"', *sorted(commands)):
        here = re.sub("HOST:50051|TARGET", "$SCHEDULER_2", command).replace("HOST:9464", "$SCHEDULER_2_METRICS")
        script = f". {env}\nPATH=$PATH:{find_bindir()}\n{here}"
        subprocess.run(["sh", "-ec", script], check=True, stdout=subprocess.DEVNULL)


def ended(process: Process, status: int = 0) -> str:
    """What it said, once it has ended."""
    process.ended(PATIENCE, status)
    return process.text()


@pytest.mark.release("a cluster of all services; chaos kills the same in each run of the gate")
def test_kills_of_all_kinds_lose_nothing_and_do_nothing_twice() -> None:
    script = "kill scheduler; kill worker; wait 1; kill database; wait 1; up; wait healthy; kill worker-9; wait 1"
    with cluster("--script", script) as (process, _):
        output = ended(process, status=1)
    counts = re.search(r"^submitted (\d+), acknowledged (\d+), completed (\d+), open 0$", output, re.MULTILINE)
    assert counts, output
    assert len(set(counts.groups())) == 1
    assert int(counts[1]) > 0
    assert re.search(r"^lost 0, twice 0; ", output, re.MULTILINE)
    for victim in ("scheduler-1", "worker-1", "database"):
        assert re.search(rf"^kill -9 {victim} +\d+ s +\d+\.\d s ", output, re.MULTILINE), output
    assert "WRONG: nothing to kill: no worker-9 is up\n1 things are WRONG" in output


@pytest.mark.release("a cluster of all services")
def test_keys_hurt_it_and_ctrl_c_ends_all_with_a_summary() -> None:
    with server_folder() as folder:
        with Operator("", terminal=True, keyboard=True, program=command(folder)) as operator:
            for seen in ("scheduler-2", "session", "acknowledged", "lost 0, twice 0", "kill: s scheduler w worker"):
                operator.wait_for(seen)
            operator.type("d")
            operator.wait_for("kill -9 database")
            operator.wait_for("down")
            operator.type("u")
            operator.wait_for("healthy ")
            operator.interrupt()
            status, _ = operator.ended()
        assert (status, belonging_to(folder)) == (0, [])
        assert "nothing was lost, and nothing done twice" in operator.output


@pytest.mark.costly("a cluster of all services", seconds=3)
def test_nothing_outlives_a_launcher_that_is_killed() -> None:
    with cluster() as (process, folder):
        wait_until(lambda: UP in process.text(), within=PATIENCE, what="it is up")
        check_commands_of_runbooks(folder)
        undertakers = [child for child in children(process.pid) if UNDERTAKER in child.cmdline()]
        process.kill()
        wait_until_gone(lambda: belonging_to(folder), within=STOP_LIMIT, what="nothing is left running")
        # It kills whoever has a file of the folder open: this process, too, which removes the folder next.
        wait_until_gone(lambda: living(undertakers), within=STOP_LIMIT, what="it has ended")
        assert undertakers


def test_a_script_that_makes_no_sense_is_refused() -> None:
    with cluster("--script", "kill everybody") as (process, _):
        assert "'everybody' is nothing to kill: it should be kill KIND|NAME" in ended(process, status=2)
