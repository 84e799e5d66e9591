"""docker/backup.sh, the command of the image of backups, with the programs of this environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.harness.ports import free_port
from tests.harness.process import Process, inherited, installed, run_to_end
from tests.harness.waiting import wait_until

JOB = Path(__file__).parents[2] / "docker/backup.sh"
WITHIN = 60.0


def variables(folder: Path, database: str) -> dict[str, str]:
    path = f"{installed('python').parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"DATABASE_URL": database, "BACKUP_FOLDER": str(folder), "CONTENTGEN_DATA_DIR": str(folder / "data")}
    return inherited() | settings | {"PATH": path, "BACKUP_RETRY": "1"}


@pytest.mark.costly("a job of the shell makes a backup with real programs")
def test_it_makes_a_backup_when_there_is_none_and_waits(tmp_path: Path, db_url: str) -> None:
    environment = variables(tmp_path, db_url.replace("+psycopg2", ""))
    unhealthy = run_to_end([JOB, "health"], environment, within=WITHIN)
    assert unhealthy.returncode == 1
    assert "no backup in" in unhealthy.stderr
    with Process("backup", [JOB], tmp_path / "log", environment) as job:
        wait_until(lambda: list(tmp_path.glob("*day.backup")), within=WITHIN, what="there is a backup")
        wait_until(lambda: "restored" in job.text(), within=WITHIN, what="it says that it can be restored")
        job.stop()
    assert run_to_end([JOB, "health"], environment, within=WITHIN).returncode == 0


@pytest.mark.costly("a job of the shell makes a backup with real programs")
def test_it_tries_again_after_a_failure(tmp_path: Path) -> None:
    environment = variables(tmp_path, f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with Process("backup", [JOB], tmp_path / "log", environment) as job:
        wait_until(lambda: job.text().count("no new backup") > 1, within=WITHIN, what="it has failed twice")
        job.stop()
    assert run_to_end([JOB, "once"], environment, within=WITHIN).returncode == 78
    assert run_to_end([JOB, "twice"], environment, within=WITHIN).returncode == 2
