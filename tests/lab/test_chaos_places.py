"""Where a chaos campaign strikes and looks: disks, wires, leftovers, the database."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from lab.chaos.collected import left_by_postgres, left_by_services, read_stored, sha256
from lab.chaos.evidence import Stored, StoredContent, StoredTask
from scheduler_svc.domain.content import TaskResult
from scheduler_svc.domain.ids import format_task_id
from scheduler_svc.domain.lease import AttemptCompleted, AttemptStarted, LeaseUpdate
from scheduler_svc.domain.lifecycle import Status
from scheduler_svc.domain.task import RunOutput
from scheduler_svc.leases.report import ReportItem
from tests.harness.cluster import SharedDatabase
from tests.harness.processes import belonging_to, living, process_of
from tests.harness.scheduling import Scheduling
from tests.harness.waiting import wait_until, wait_until_gone
from tests.harness.wires import Trouble, Wire, Wires

pytestmark = pytest.mark.lab


# A small disk is full at once, and empty at once; nobody outside sees it.


_PROGRAM = """
import errno, sys
from pathlib import Path
from lab.deployment.deployment import Disk, enter_namespace

if reason := enter_namespace():
    sys.exit(f"unavailable: {reason}")
folder = Path(sys.argv[1])
disk = Disk(folder, 1 << 20)
(folder / "before").write_bytes(b"x" * 200_000)
disk.fill()
try:
    (folder / "meanwhile").write_bytes(b"x" * 200_000)
except OSError as error:
    print(errno.errorcode[error.errno])
disk.empty()
(folder / "after").write_bytes(b"x" * 200_000)
print(*sorted(path.name for path in folder.iterdir()))
"""


def test_a_disk_is_filled_and_emptied(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    done = subprocess.run([sys.executable, "-c", _PROGRAM, folder], capture_output=True, text=True, check=False)
    if done.stderr.startswith("unavailable"):
        pytest.skip(done.stderr.strip())
    assert (done.stderr, done.stdout.split()) == ("", ["ENOSPC", "after", "before", "meanwhile"])
    assert list(folder.iterdir()) == [], "it was in a namespace of that process"


def test_missing_rights_to_mount_disks_are_explained() -> None:
    drop = "import os; from lab.deployment.deployment import enter_namespace; os.getuid() or os.setuid(65534)"
    program = f"{drop}; print(enter_namespace())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "no mount namespace of its own: Operation not permitted\n"


# What services may leave behind is found where they would leave it.


NOBODY: frozenset[int] = frozenset()


@pytest.fixture
def dsn(db_url: str) -> str:
    return db_url.replace("+psycopg2", "")


def kinds(folder: Path, dsn: str, spared: frozenset[int] = NOBODY) -> list[str]:
    return [left.kind for left in left_by_services(folder, [folder / "worker"], dsn, spared)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("scratch", "scratch folder"), ("spool", "spool file"), ("assets", "asset"), ("started", "mark of a started CLI")],
)
def test_files_of_a_worker_are_found(tmp_path: Path, dsn: str, name: str, kind: str) -> None:
    folder = tmp_path / "worker" / "workers" / "1" / name
    folder.mkdir(parents=True)
    assert kinds(tmp_path, dsn) == []
    (folder / "lease-1").touch()
    assert kinds(tmp_path, dsn) == [kind]


def test_a_process_is_found_by_its_folder(tmp_path: Path, dsn: str) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as sleeper:
        try:
            assert kinds(tmp_path, dsn) == ["process"]
            assert kinds(tmp_path, dsn, frozenset({sleeper.pid})) == []
            assert [left.kind for left in left_by_postgres(tmp_path, [], NOBODY)] == ["process"]
        finally:
            sleeper.kill()


def test_a_connection_is_found(tmp_path: Path, dsn: str) -> None:
    with closing(psycopg2.connect(dsn)):
        assert kinds(tmp_path, dsn) == ["connection"]
    wait_until(lambda: not kinds(tmp_path, dsn), within=5, what="the backend has ended")


def test_a_socket_folder_is_found(tmp_path: Path) -> None:
    assert left_by_postgres(tmp_path, [tmp_path / "socket"], NOBODY) == []
    assert [left.kind for left in left_by_postgres(tmp_path / "folder", [tmp_path], NOBODY)] == ["socket folder"]


# What the checker reads of a database is what tasks, made by the application itself, have come to.


RUN = "01234567-89ab-cdef-0123-456789abcdef"
TOPIC = "人工智能 'quoted'"


def read(database: SharedDatabase) -> Stored:
    return read_stored(database.url.replace("+psycopg2", ""))


def test_a_task_is_read_at_each_of_its_places(scheduling: Scheduling, shared_database: SharedDatabase) -> None:
    ref = scheduling.start(topic=TOPIC, request_id="r", auto_approve=False)
    scheduling.report(ref, AttemptStarted())
    waiting = scheduling.submit_one(request_id="s", max_retries=7)
    stored = read(shared_database)
    first = format_task_id(ref.task_key)
    assert stored.tasks == {
        first: StoredTask(first, 1, Status.PROCESSING, "r", sha256(TOPIC), False, 0, 3, None, ("leases",)),
        format_task_id(waiting): StoredTask(
            format_task_id(waiting), 1, Status.PENDING, "s", sha256("a topic"), True, 0, 7, None, ("ready",)
        ),
    }
    assert stored.leases == [first]
    assert (stored.contents, stored.pool, stored.caps) == ([], [], {})


def test_a_content_is_read_with_the_run_in_its_body(scheduling: Scheduling, shared_database: SharedDatabase) -> None:
    body = f"run {RUN} and then some"
    ref = scheduling.start(topic=TOPIC)
    scheduling.report(ref, AttemptCompleted(TaskResult(body)))
    task_id, stored = format_task_id(ref.task_key), read(shared_database)
    (content,) = stored.contents
    assert content == StoredContent(content.content_id, task_id, 1, sha256(body), RUN)
    assert stored.pool == [content.content_id] == [stored.tasks[task_id].content_id]
    assert (stored.tasks[task_id].places, stored.leases) == ((), [])
    moves = [
        (event.previous, event.status, event.attempt, event.worker, event.reason) for event in stored.events[task_id]
    ]
    assert moves == [
        (Status.NONE, Status.PENDING, 0, "", "SUBMITTED"),
        (Status.PENDING, Status.SUBMITTED, 1, "w", "LEASED"),
        (Status.SUBMITTED, Status.PROCESSING, 1, "w", "STARTED"),
        (Status.PROCESSING, Status.COMPLETED, 1, "w", "COMPLETED"),
    ]


def test_a_lease_that_only_bars_its_task_is_no_place_of_it(
    scheduling: Scheduling, shared_database: SharedDatabase
) -> None:
    account_id = scheduling.make_account(limit=2)
    ref = scheduling.start()
    scheduling.cancel(ref.task_key, force=True)
    task_id, stored = format_task_id(ref.task_key), read(shared_database)
    assert (stored.tasks[task_id].status, stored.tasks[task_id].places) == (Status.CANCELLED, ())
    assert (stored.leases, stored.caps) == ([task_id], {account_id: 2})


def test_logs_are_read_by_attempt_and_a_body_without_a_run_has_none(
    scheduling: Scheduling, shared_database: SharedDatabase
) -> None:
    ref = scheduling.start()
    update = LeaseUpdate(ref.lease_id, ref.attempt, ref, AttemptCompleted(TaskResult("a body")), RunOutput("out", ""))
    scheduling.report_group(ReportItem((update,)))
    stored = read(shared_database)
    assert stored.logs == {(format_task_id(ref.task_key), 1)}
    assert [content.run for content in stored.contents] == [None]


# What a killed campaign leaves does not live on.


_CAMPAIGN = """
import subprocess, sys
from pathlib import Path
from lab.deployment.undertaker import undertaken

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


# Each trouble of a wire, as both ends see it.


LIMIT = 5.0
HELLO = b"hello"
NOT_A_BYTE = 0.2
"""Seconds in which a byte would have come on a whole wire of one machine."""


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT)
        yield server


@pytest.fixture
def wires() -> Iterator[Wires]:
    with Wires() as wires:
        yield wires


@pytest.fixture
def wire(wires: Wires, server: socket.socket) -> Wire:
    return wires.to_port("a/b", server.getsockname()[1])


@contextmanager
def connected(wire: Wire, server: socket.socket) -> Iterator[tuple[socket.socket, socket.socket]]:
    """The near and the far end of a connection over which something has gone already."""
    with socket.create_connection(("127.0.0.1", wire.port), LIMIT) as near, server.accept()[0] as far:
        assert carried(near, far)
        assert carried(far, near)
        yield near, far


def carried(source: socket.socket, target: socket.socket, within: float = LIMIT) -> bool:
    source.sendall(HELLO)
    target.settimeout(within)
    try:
        return target.recv(64) == HELLO
    except TimeoutError:
        return False


def has_ended(near: socket.socket) -> bool:
    """Whether the connection ends, rather than stay silent or say something."""
    near.settimeout(LIMIT)
    try:
        return near.recv(64) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_a_cut_wire_resets_what_is_connected_and_what_tries_to(wires: Wires, wire: Wire, server: socket.socket) -> None:
    with connected(wire, server) as (near, _):
        wires.hurt("a/", Trouble.CUT)
        assert has_ended(near)
    with socket.create_connection(("127.0.0.1", wire.port), LIMIT) as near:
        assert has_ended(near)
    wires.mend()
    with connected(wire, server):
        pass


def test_a_hole_takes_every_byte_and_tells_nobody(wires: Wires, wire: Wire, server: socket.socket) -> None:
    with connected(wire, server) as (near, far):
        wires.hurt("a/", Trouble.HOLE)
        assert not carried(near, far, NOT_A_BYTE)
        assert not carried(far, near, NOT_A_BYTE)
        wires.mend()
        assert has_ended(near)


def test_a_deaf_end_is_heard_and_hears_nothing(wires: Wires, wire: Wire, server: socket.socket) -> None:
    with connected(wire, server) as (near, far):
        wires.hurt("a/", Trouble.DEAF)
        assert carried(near, far)
        assert not carried(far, near, NOT_A_BYTE)


def test_a_slow_wire_is_late_in_both_directions(wires: Wires, wire: Wire, server: socket.socket) -> None:
    with connected(wire, server) as ends:
        wires.hurt("a/", Trouble.SLOW, 0.1)
        for source, target in (ends, ends[::-1]):
            begin = time.monotonic()
            assert carried(source, target)
            assert time.monotonic() - begin >= 0.1
        wires.mend()
        assert carried(*ends)


def test_other_wires_stay_whole(wires: Wires, wire: Wire, server: socket.socket) -> None:
    other = wires.to_port("c/d", server.getsockname()[1])
    wires.hurt("a/", Trouble.CUT)
    with connected(other, server):
        pass
