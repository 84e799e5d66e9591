"""What a CLI can reach of its worker: as the same user, and as the user of CREATOR_USER."""

from __future__ import annotations

import base64
import inspect
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.harness.guarded import FAR, guarding
from tests.harness.processes import living
from tests.harness.waiting import wait_until_async, wait_until_gone_async
from worker_svc.creator_user import CreatorUser
from worker_svc.guard import now
from worker_svc.guard.client import Guard
from worker_svc.guard.process import launch

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("by_command")]

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-of-256-bits"
SYSTEM_PYTHON = Path("/usr/bin/python3")
NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs programs as another user")
CLI = """#!/bin/sh
[ "$1" = --version ] && { echo 1.0; exit; }
worker=$(cut -d' ' -f4 /proc/$PPID/stat)
looks=$(
    exec 2>&1
    echo "user $(id -u)"
    grep -E '^(CapEff|CapAmb|NoNewPrivs)' /proc/self/status
    for file in /proc/$PPID/environ /proc/$worker/environ /proc/$worker/cwd/. "$SECRET_PATH"; do
        cat "$file" 2>/dev/null | tr '\\0' '\\n' | grep "$WANTED"
    done
    ls ../../../*
    kill -0 $worker && echo "it may signal the worker"
    touch written && echo written
)
echo "{\\"content\\": \\"$(echo "$looks" | base64 -w0)\\"}"
"""
"""Tells whom it runs as, and the lines with a secret that it finds."""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may pass through; pytest's own are closed to others."""
    place = Path(tempfile.mkdtemp(prefix="contentgen-creator-"))
    place.chmod(0o711)
    (place / "cli").write_text(CLI)
    (place / "cli").chmod(0o755)
    (place / "token").write_text(TOKEN)
    (place / "token").chmod(0o600)
    yield place
    shutil.rmtree(place)


def tried(place: Path, **environment: str) -> list[str]:
    """What the CLI tells of a run of a worker that has a token, line by line."""
    done = subprocess.run(
        [sys.executable, "-m", "worker_svc", "try", "--topic=Tea", "--output=json"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(place),
            "CREATOR_CLI_PATH": str(place / "cli"),
            "CREATOR_PROFILE": "json",
            "CREATOR_ENV": "WANTED,SECRET_PATH",
            "WANTED": TOKEN[:9],
            "SECRET_PATH": str(place / "token"),
            "CONTENTGEN_TOKEN": TOKEN,
            **environment,
        },
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in place.iterdir()) == ["cli", "token"], "the run's folder is left"
    return base64.b64decode(json.loads(done.stdout)["result"]["body"]).decode().splitlines()


@as_root
def test_a_cli_of_another_user_reaches_nothing_of_its_worker(place: Path) -> None:
    lines = tried(place, CREATOR_USER="nobody")
    assert lines[:4] == [
        f"user {NOBODY.pw_uid}",
        "CapEff:\t0000000000000000",
        "CapAmb:\t0000000000000000",
        "NoNewPrivs:\t1",
    ]
    assert not [line for line in lines if TOKEN in line]
    assert "it may signal the worker" not in lines
    assert lines[-1] == "written"


@as_root
def test_a_cli_of_the_workers_own_user_reaches_what_that_user_may(place: Path) -> None:
    lines = tried(place)
    assert (lines[0], lines[-1]) == ("user 0", "written")
    assert [line for line in lines if TOKEN in line] == [f"CONTENTGEN_TOKEN={TOKEN}", TOKEN]
    assert "it may signal the worker" in lines


@pytest.fixture
async def guard() -> AsyncIterator[Guard]:
    async with guarding(CreatorUser.named("nobody")) as guard:
        guard.open_run("run", now() + FAR)
        yield guard


async def daemon(guard: Guard) -> psutil.Process:
    """A process of the other user that has left its CLI's session and parents."""
    program = "(setsid sh -c 'echo $$; exec sleep 600' &) ; exec sleep 600"
    child = await guard.spawn("run", ["sh", "-c", program], cwd=Path("/"), env={"PATH": os.environ["PATH"]})
    return psutil.Process(int(await child.stdout.readline()))


@as_root
async def test_all_processes_of_another_user_end_with_their_run(guard: Guard) -> None:
    left = await daemon(guard)
    assert left.uids().real == NOBODY.pw_uid
    await guard.close_run("run")
    assert not living([left])


@as_root
async def test_all_processes_of_another_user_end_with_a_killed_guard(guard: Guard) -> None:
    left = await daemon(guard)
    cli = psutil.Process(guard.pid).children()[0]
    psutil.Process(guard.pid).kill()
    await wait_until_async(guard.lost.is_set, within=60, what="the worker notices")
    await wait_until_gone_async(lambda: living([cli, left]), within=60, what="no process lives")


async def test_the_guards_environment_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_TOKEN", TOKEN)
    guard = Guard.launch()
    try:
        assert TOKEN not in psutil.Process(guard.pid).environ().values()
    finally:
        await guard.close()


@as_root
@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="only a Python outside root's home can be run by others")
def test_no_process_of_the_same_user_reads_hidden_memory() -> None:
    """Its source is run, because another user may not reach this interpreter or this folder."""
    program = f"{inspect.getsource(launch)}\nhide_memory(); print(flush=True); sys.stdin.read()"

    def as_nobody(*argv: str) -> subprocess.Popen[str]:
        pipe, user, group = subprocess.PIPE, NOBODY.pw_uid, NOBODY.pw_gid
        return subprocess.Popen(
            argv,
            env={"PATH": os.environ["PATH"]},
            stdin=pipe,
            stdout=pipe,
            text=True,
            user=user,
            group=group,
            extra_groups=(),
        )

    with as_nobody(str(SYSTEM_PYTHON), "-c", program) as hidden, as_nobody("sleep", "600") as plain:
        assert hidden.stdout is not None
        hidden.stdout.readline()
        read = [as_nobody("cat", f"/proc/{process.pid}/environ").communicate()[0] for process in (hidden, plain)]
        hidden.kill()
        plain.kill()
    assert ["PATH=" in environment for environment in read] == [False, True]
