"""`make restore-drill`: restores the newest backup into an empty server, proves what it holds, and times each step.

Without `--from FOLDER` a small deployment is filled and backed up first. The copy sends nothing: its webhooks and
channels are removed before a scheduler serves it. Exit status: 0 it held, 1 it did not.
"""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before gRPC is imported: processes are started beside it

import hashlib
import json
import re
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn

import sqlalchemy as sa

from contentgen import ContentGenerationClient
from contentgen.stack.processes import Interrupts, StackError, status_of
from contentgen.stack.services import SchedulerAlone, Stack, command, environment, throwaway_folder
from scheduler_svc.admin.backups.command import assets_folder
from scheduler_svc.admin.backups.programs import Programs
from scheduler_svc.assets.stores import FolderStore
from scheduler_svc.config import settings_of
from scheduler_svc.postgres import EmbeddedPostgres

TASKS = 20
MOVED_ON = {"content_seq", "accounts_account_id_seq", "schedules_schedule_id_seq", "webhooks_webhook_id_seq"}
_COPY = re.compile(rb"COPY public\.(\w+) ")
_SEQUENCE = re.compile(rb"SELECT pg_catalog\.setval\('public\.(\w+)', (\d+), (\w+)\);")
_SEQUENCES = "SELECT sequencename, coalesce(last_value, 0) FROM pg_sequences WHERE schemaname = 'public'"
Numbers = Mapping[str, int]


def drill(backups: Path | None, interrupts: Interrupts) -> None:
    """Raises StackError if the backup does not hold."""
    with throwaway_folder("drill") as folder:
        # none of the caller's settings, so that nothing of this reaches the caller's database
        variables = {**environment(folder), "CREATOR_DEMO_SECONDS": "0.1"}
        if backups is None:
            with step("filled a small deployment, and backed it up"):
                back_up(variables, folder, interrupts)
        file = max((backups or folder).glob("*.backup"), key=lambda path: path.stat().st_mtime, default=None)
        if not file:
            fail(f"{backups} has no *.backup")
        with step(f"read {file}"):
            rows, sequences = contents_of(file)
        restored = folder / "data" / "restored"
        variables["CONTENTGEN_DATA_DIR"] = str(restored)
        with step("restored it into an empty server") as say:
            say(run(variables, "restore", str(file)).splitlines()[0])
        with step("compared the copy with the backup") as say, EmbeddedPostgres(restored / "postgres") as server:
            engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
            with engine.begin() as connection:
                say(compare(connection, rows, sequences))
                say(check_assets(connection, file, FolderStore(restored / "assets")))
                connection.execute(sa.text("TRUNCATE webhooks, webhook_deliveries, channel_events"))
                cell = connection.scalar(sa.text("SELECT cell FROM deployment")) or 0
        with step("started a scheduler on it, and asked it") as say:
            say(ask(variables | {"CONTENTGEN_CELL": str(cell)}, folder, rows, interrupts))


@contextmanager
def step(name: str) -> Iterator[Callable[[str], None]]:
    """Prints how long the block takes, and the lines that it says."""
    lines, start = list[str](), time.monotonic()
    yield lines.append
    print(f"{time.monotonic() - start:7.1f} s  {name}", *(f"{'':11}{line}" for line in lines), sep="\n", flush=True)


def fail(problem: str) -> NoReturn:
    raise StackError(f"the backup does not hold: {problem}", Path("docs/how-to/backups.md"))


def run(variables: Mapping[str, str], *arguments: str) -> str:
    program = command("contentgen-scheduler")
    done = subprocess.run([program, *arguments], env=variables, capture_output=True, text=True, check=False)
    return fail(done.stdout + done.stderr) if done.returncode else done.stdout


def back_up(variables: Mapping[str, str], folder: Path, interrupts: Interrupts) -> None:
    with Stack(variables, folder / "logs", 0.0, interrupts) as stack:
        with ContentGenerationClient(stack.target) as client:
            account_id = client.create_account("drill")["account_id"]
            for n in range(TASKS):
                client.submit_task(account_id, f"topic {n}")
            stack.until(
                lambda: client.get_task_stats()["counts"]["completed"] == TASKS, within=60, what="tasks are completed"
            )
        run(variables, "backup", str(folder / "drill.backup"))


def contents_of(file: Path) -> tuple[Numbers, Numbers]:
    """Returns the rows of each table and the last number of each sequence, as pg_restore writes them."""
    rows, sequences, table = dict[str, int](), dict[str, int](), ""
    with Programs(settings_of({})).output("pg_restore", "--data-only", "--file=-", str(file)) as script:
        for line in script:
            if line == b"\\.\n":
                table = ""
            elif table:
                rows[table] += 1
            elif match := _COPY.match(line):
                table = match[1].decode()
                rows[table] = 0
            elif match := _SEQUENCE.match(line):
                sequences[match[1].decode()] = int(match[2]) if match[3] == b"true" else 0
    return rows, sequences


def compare(connection: sa.Connection, rows: Numbers, sequences: Numbers) -> str:
    counts = {table: connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) for table in rows}
    if differing := [f"{table} has {counts[table]} of {n} rows" for table, n in rows.items() if counts[table] != n]:
        fail(", ".join(differing))
    numbers = {str(name): int(last) for name, last in connection.execute(sa.text(_SEQUENCES))}
    if stale := [name for name, last in sequences.items() if numbers[name] < last + (name in MOVED_ON)]:
        fail(f"numbers would be assigned again: {', '.join(stale)}")
    total = f"{sum(rows.values()):,} rows in {len(rows)} tables"
    return f"{total}, as many as the backup has; ids of contents go on above {numbers['content_seq']:,}"


def check_assets(connection: sa.Connection, file: Path, store: FolderStore) -> str:
    if not assets_folder(file).exists():
        return "no files are beside it: they are in a bucket, or there are none"
    names = connection.scalars(sa.text("SELECT sha256 FROM assets WHERE complete")).all()
    for path in map(store.path, names):
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            fail(f"the asset {path.name} is missing or damaged")
    return f"{len(names):,} assets have the bytes that they are named after"


def ask(variables: Mapping[str, str], folder: Path, rows: Numbers, interrupts: Interrupts) -> str:
    with (
        SchedulerAlone(variables, folder / "logs", 0.0, interrupts) as stack,
        ContentGenerationClient(stack.target) as client,
    ):
        if (tasks := sum(client.get_task_stats()["counts"].values())) != rows["tasks"]:
            fail(f"the scheduler counts {tasks} of {rows['tasks']} tasks")
        client.submit_task(client.create_account("restore drill")["account_id"], "after the restore")
        doctor = [command("contentgen"), "--scheduler", stack.target, "-o", "json", "doctor"]
        findings = json.loads(subprocess.run(doctor, env=variables, capture_output=True, check=False).stdout)
    if faults := [f for f in findings if f["level"] == "fail" and f["check"] in ("target", "database")]:
        fail(f"doctor: {faults}")
    return f"it serves {tasks:,} tasks and takes a new one; doctor finds the way to it and its database in order"


if __name__ == "__main__":
    parser = ArgumentParser(prog="make restore-drill", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--from", dest="backups", type=Path, metavar="FOLDER", help="where the *.backup files are")
    sys.exit(status_of("restore-drill", partial(drill, parser.parse_args().backups)))
