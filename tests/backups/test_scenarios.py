"""Backups beside a running stack, and the job that makes them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from grpc import StatusCode

from contentgen import ContentGenerationClient
from contentgen.v1 import task_pb2
from tests.harness.client import Client, Status, not_found, refused, request
from tests.harness.database_faults import NEWEST
from tests.harness.process import Process, inherited, installed, run_to_end
from tests.harness.processes import free_port
from tests.harness.stack import EMBEDDED, Scheduler, Stack, Worker
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone

pytestmark = pytest.mark.e2e

LEASE = 90.0
"""Seconds: a run that is let go in time outlives all that a test does to the schedulers."""


def run(scheduler: Scheduler, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A command of `contentgen-scheduler` with this scheduler's settings."""
    return run_to_end([*scheduler.command, *arguments], scheduler.environment, within=PATIENCE_S)


@dataclass
class Site:
    """A stack in which some runs last until they are let go."""

    stack: Stack
    scheduler: Scheduler
    account_id: int
    workers: dict[str, Worker] = field(default_factory=dict)

    @property
    def client(self) -> Client:
        return self.scheduler.client

    def start_worker(self, name: str) -> Worker:
        self.workers[name] = self.stack.quick_worker(name, self.scheduler, slots=4).start()
        return self.workers[name]

    def submit_held(self, topic: str) -> str:
        """A task whose run, which has begun on return, lasts until `let_go`."""
        task_id = self.client.submit(self.account_id, topic, options={"until": str(self._gate(topic))})
        self.client.wait_processing(task_id)
        return task_id

    def let_go(self, topic: str) -> None:
        self._gate(topic).touch()

    def complete(self, count: int, topic: str) -> list[str]:
        task_ids = self.client.submit_all(request(self.account_id, f"{topic} {n}") for n in range(count))
        for task_id in task_ids:
            self.client.wait_completed(task_id, within=PATIENCE_S)
        return task_ids

    def tasks(self) -> dict[str, task_pb2.Task]:
        return {task.task_id: task for task in self.client.list_tasks()}

    def creates(self, task_id: str) -> int:
        return len(self.stack.journal.creates(task_id))

    def _gate(self, topic: str) -> Path:
        return self.stack.folder / f"gate-{topic}"


@pytest.fixture
def site(stack: Stack) -> Site:
    scheduler = stack.scheduler(lease_ttl=LEASE).start()
    return Site(stack, scheduler, scheduler.client.create_account())


def assert_expired(client: Client, account_id: int, token: str) -> None:
    with refused(StatusCode.OUT_OF_RANGE, "RESUME_TOKEN_EXPIRED"):
        client.watch(account_id, token)


def assert_gone(client: Client, task_id: str) -> None:
    with not_found("task", task_id):
        client.task(task_id)


@pytest.mark.costly("services are killed and started again around a backup", seconds=3)
def test_a_backup_comes_back_after_a_campaign_and_everything_goes_on_from_it(site: Site) -> None:
    file = site.stack.folder / "monday.backup"
    survivor = site.start_worker("survivor")
    done = site.complete(5, "done")
    later = site.client.submit(site.account_id, schedule_time=datetime.now(UTC) + timedelta(days=1))
    kept = site.submit_held("kept")  # runs over all that follows
    repeated = site.submit_held("repeated")  # ends after the backup, which is then forgotten
    token = site.client.watch(site.account_id).event.resume_token
    site.client.watch(site.account_id, token)  # it is good as yet
    as_they_stood = site.tasks()

    backup = run(site.scheduler, "backup", file)
    assert backup.returncode == 0, backup.stderr
    assert re.fullmatch(rf"{file}: [\d.]+ KiB of 20\d\d-.* UTC, schema {NEWEST}, in [\d.]+ s\n", backup.stdout)
    assert file.stat().st_mode & 0o777 == 0o600

    # the campaign: more work, things that change, things that are killed
    victim = site.start_worker("victim")
    site.let_go("repeated")
    site.client.wait_completed(repeated, within=PATIENCE_S)
    site.client.cancel(later)
    new_account = site.client.create_account()
    new_tasks = site.complete(10, "new")
    site.scheduler.kill()
    victim.kill()
    site.scheduler.start()
    victim.start()
    new_tasks += site.complete(5, "newer")
    spooled, dropped = site.submit_held("spooled"), site.submit_held("dropped")
    new_contents = {content.content_id for content in site.client.contents()}
    newer_token = site.client.watch(site.account_id).event.resume_token

    site.scheduler.kill()
    site.let_go("spooled")
    spools = (survivor, victim)
    wait_until(lambda: any(worker.spooled() for worker in spools), within=PATIENCE_S, what="a result is in a spool")
    restored = run(site.scheduler, "restore", file, "--replace")
    assert restored.returncode == 0, restored.stderr
    site.scheduler.start()
    client = site.client

    # what came after the backup is gone, and whoever still holds some of it lets go
    assert set(site.tasks()) == set(as_they_stood)
    for task_id in (*new_tasks, spooled, dropped):
        assert_gone(client, task_id)
    wait_until_gone(
        lambda: [path for spool in spools for path in spool.spooled()], within=PATIENCE_S, what="spools are empty"
    )
    (run_of_dropped,) = site.stack.journal.creates(dropped)
    wait_until_gone(run_of_dropped.processes, within=PATIENCE_S, what="the CLI of a task that is gone has ended")
    for former in (token, newer_token):
        assert_expired(client, site.account_id, former)

    # what was in it is as it stood, and goes on
    assert {task_id: site.tasks()[task_id] for task_id in (*done, later)} == {
        task_id: as_they_stood[task_id] for task_id in (*done, later)
    }
    assert client.wait_completed(repeated, within=PATIENCE_S).attempt == 2
    assert client.task(kept).status == Status.TASK_STATUS_PROCESSING
    site.let_go("kept")
    assert client.wait_completed(kept, within=PATIENCE_S).attempt == 1
    assert (site.creates(kept), site.creates(repeated)) == (1, 2)
    ended = [*done, kept, repeated]
    assert sorted(content.task_id for content in client.contents()) == sorted(ended)
    assert client.counts() == {**dict.fromkeys(client.counts(), 0), "completed": len(ended), "pending": 1}

    # numbers of after the backup are not handed out again
    assert client.create_account() > new_account
    fresh_token = client.watch(site.account_id).event.resume_token
    again = site.complete(10, "again")
    assert not set(again) & {*new_tasks, spooled, dropped}
    client.watch(site.account_id, fresh_token)
    made_since = {client.task(task_id).content_id for task_id in (*again, repeated)}
    assert not made_since & new_contents


@pytest.mark.costly("three schedulers, each with its server, and commands", seconds=3)
def test_the_embedded_database_is_backed_up_while_it_is_used_and_restored_alone(
    stack: Stack, embedded: Callable[..., Scheduler]
) -> None:
    file = stack.folder / "it.backup"
    scheduler = embedded().start()
    account_id = scheduler.client.create_account()
    task_id = scheduler.client.submit(account_id)
    assert run(scheduler, "backup", file).returncode == 0

    refused = run(scheduler, "restore", file, "--replace")
    assert refused.returncode == 78
    assert f"in use by process {scheduler.pid}, stop it first" in refused.stderr
    scheduler.stop()
    elsewhere = stack.scheduler("elsewhere", database_url=EMBEDDED)
    assert run(elsewhere, "restore", file).returncode == 0
    elsewhere.start()
    assert elsewhere.client.task(task_id).account_id == account_id


@pytest.mark.costly("a scheduler starts twice around three commands", seconds=2)
def test_pictures_are_in_the_backup_and_back_after_the_restore(stack: Stack) -> None:
    scheduler = stack.scheduler().start()
    worker = stack.worker("worker", scheduler).start()
    account_id = scheduler.client.create_account()
    task_id = scheduler.client.submit(account_id, options={"demo-seconds": "0.1"})
    content = scheduler.client.content(scheduler.client.wait_completed(task_id, within=PATIENCE_S).content_id)
    file, kept = stack.folder / "it.backup", stack.folder / "it.backup.assets"

    backup = run(scheduler, "backup", file)
    assert (backup.returncode, backup.stdout.splitlines()[-1]) == (0, f"{kept}: 2 assets, 2 of them new")
    assert run(scheduler, "backup", "--overwrite", file).stdout.splitlines()[-1] == f"{kept}: 2 assets, 0 of them new"
    worker.stop()
    scheduler.stop()
    lost = scheduler.data_dir / "assets"
    shutil.rmtree(lost)
    restored = run(scheduler, "restore", "--replace", file)
    assert restored.returncode == 0, restored.stderr
    assert f"{lost}: 2 of 2 assets were missing" in restored.stdout
    scheduler.start()
    with ContentGenerationClient(scheduler.target) as client:
        assert [len(client.read_asset(asset.sha256)) for asset in content.assets] == [
            asset.size for asset in content.assets
        ]


# docker/backup.sh, the command of the image of backups, with the programs of this environment.


JOB = Path(__file__).parents[2] / "docker/backup.sh"


def variables(folder: Path, database: str) -> dict[str, str]:
    path = f"{installed('python').parent}{os.pathsep}{os.environ['PATH']}"
    settings = {"DATABASE_URL": database, "BACKUP_FOLDER": str(folder), "CONTENTGEN_DATA_DIR": str(folder / "data")}
    return inherited() | settings | {"PATH": path, "BACKUP_RETRY": "1"}


@pytest.mark.costly("a job of the shell makes a backup with real programs", seconds=2)
def test_it_makes_a_backup_when_there_is_none_and_waits(tmp_path: Path, db_url: str) -> None:
    environment = variables(tmp_path, db_url.replace("+psycopg2", ""))
    unhealthy = run_to_end([JOB, "health"], environment, within=PATIENCE_S)
    assert unhealthy.returncode == 1
    assert "no backup in" in unhealthy.stderr
    with Process("backup", [JOB], tmp_path / "log", environment) as job:
        wait_until(lambda: list(tmp_path.glob("*day.backup")), within=PATIENCE_S, what="there is a backup")
        wait_until(lambda: "restored" in job.text(), within=PATIENCE_S, what="it says that it can be restored")
        job.stop()
    assert run_to_end([JOB, "health"], environment, within=PATIENCE_S).returncode == 0


@pytest.mark.costly("a job of the shell makes a backup with real programs", seconds=2)
def test_it_tries_again_after_a_failure(tmp_path: Path) -> None:
    environment = variables(tmp_path, f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    with Process("backup", [JOB], tmp_path / "log", environment) as job:
        wait_until(lambda: job.text().count("no new backup") > 1, within=PATIENCE_S, what="it has failed twice")
        job.stop()
    assert run_to_end([JOB, "once"], environment, within=PATIENCE_S).returncode == 78
    assert run_to_end([JOB, "twice"], environment, within=PATIENCE_S).returncode == 2
