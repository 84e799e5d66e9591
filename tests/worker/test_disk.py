"""What a worker keeps on disk: its folder, its spool, and the order of writes."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event

import pytest

from contentgen.service.durable import replace_file
from worker_svc.folder import FolderError, StartedMarks, folder_name, take_folder
from worker_svc.group_writer import GroupWriter
from worker_svc.spool import Entry, Spool

pytestmark = pytest.mark.unit


# The worker's folder: who holds it, who it says we are, its session numbers and marks.


def test_each_worker_takes_the_lowest_folder_that_none_holds(tmp_path: Path) -> None:
    with closing(take_folder(tmp_path, None, "host")) as first, closing(take_folder(tmp_path, None, "host")) as second:
        assert (first.path.name, second.path.name) == ("1", "2")
        assert first.identity.worker_id != second.identity.worker_id
    with closing(take_folder(tmp_path, None, "host")) as again:
        assert again.path.name == "1"
        assert again.identity == first.identity


def test_a_given_id_names_the_folder(tmp_path: Path) -> None:
    with closing(take_folder(tmp_path, "blue/1", "host")) as folder:
        assert folder.identity.worker_id == "blue/1"
        assert folder.path == tmp_path / "workers" / "blue%2F1"
        with pytest.raises(FolderError, match=rf"'blue/1' is running already: process {os.getpid()} holds"):
            take_folder(tmp_path, "blue/1", "host")


@pytest.mark.parametrize(
    "worker_id", ["7", "..", ".", "a/../b", "/etc", "a\0b", "~", "工人", "id-7", "x" * 200, "工" * 200]
)
def test_no_id_names_a_path_or_the_folder_of_another(tmp_path: Path, worker_id: str) -> None:
    name = folder_name(worker_id)
    assert not name.isdigit()
    assert (tmp_path / name).parent == tmp_path
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()


def test_ids_that_begin_alike_have_folders_of_their_own() -> None:
    assert folder_name("工" * 100 + "1") != folder_name("工" * 100 + "2")
    assert len(folder_name("工" * 200)) < 255, "the most that a file system takes"


@pytest.mark.parametrize("name", ["spool", "started", "scratch"])
def test_a_folder_of_it_that_is_a_link_leads_nowhere(tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "treasure").touch()
    with closing(take_folder(tmp_path, "w", "host")) as folder:
        ours = folder.path / name
    ours.rmdir()
    ours.symlink_to(elsewhere)
    with pytest.raises(FolderError, match=rf"{name} should be a folder, and is a link or a file"):
        take_folder(tmp_path, "w", "host")
    assert names(elsewhere) == {"treasure"}
    ours.unlink()
    take_folder(tmp_path, "w", "host").close()


@pytest.mark.parametrize("name", ["alive", "lock", "identity.tmp", "session.tmp"])
def test_a_file_of_it_that_is_a_link_is_not_written_through(tmp_path: Path, name: str) -> None:
    treasure = tmp_path / "treasure"
    treasure.write_text("not ours")
    folder = tmp_path / "workers" / "w"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(treasure)
    with pytest.raises(OSError, match="symbolic links"):
        take_folder(tmp_path, "w", "host")
    assert treasure.read_text() == "not ours"


def test_a_folder_readable_by_others_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "workers/w/spool").mkdir(parents=True, mode=0o777)
    for folder in (tmp_path / "workers", tmp_path / "workers/w", tmp_path / "workers/w/spool"):
        folder.chmod(0o777)
    with closing(take_folder(tmp_path, "w", "host")) as taken:
        private = (tmp_path / "workers", taken.path, taken.spool, taken.started, taken.scratch)
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in private} == {0o700}


def test_other_users_reach_their_folders_in_a_passable_one_and_nothing_else(tmp_path: Path) -> None:
    for creator, mode in ((65_533, 0o711), (None, 0o700)):
        with closing(take_folder(tmp_path, "w", "host", creator=creator)) as taken:
            on_the_way = (tmp_path / "workers", taken.path, taken.scratch)
            assert {stat.S_IMODE(folder.stat().st_mode) for folder in on_the_way} == {mode}
            others = (taken.spool, taken.started, taken.assets)
            assert {stat.S_IMODE(folder.stat().st_mode) for folder in others} == {0o700}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_not_taken(tmp_path: Path) -> None:
    workers = tmp_path / "workers"
    workers.mkdir()
    os.chown(workers, 65_534, 65_534)
    for creator, problem in ((None, rf"belongs to user 65534.*: chown -R 0:\d+ {workers}"), (65_534, "CREATOR_USER")):
        with pytest.raises(FolderError, match=problem):
            take_folder(tmp_path, "w", "host", creator=creator)
    assert workers.stat().st_uid == 65_534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can take a folder over")
def test_a_worker_that_runs_clis_as_another_user_takes_over_what_a_former_one_left(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.touch()
    with closing(take_folder(tmp_path, "w", "host")) as left, closing(take_folder(tmp_path, "lives", "host")) as lives:
        (left.assets / "a").mkdir()
        for path in (left.assets / "a/picture", left.spool / "1.batch"):
            path.touch()
        (left.spool / "link").symlink_to(outside)
        for path in (outside, tmp_path / "workers", *(tmp_path / "workers").rglob("*")):
            os.chown(path, 65_534, 65_534, follow_symlinks=False)
        left.close()
        with closing(take_folder(tmp_path, "w", "host", creator=65_533)) as taken:
            assert taken.identity == left.identity
            owners = {path.lstat().st_uid for path in (taken.path.parent, taken.path, *taken.path.rglob("*"))}
            with pytest.raises(FolderError, match="is running already"):
                take_folder(tmp_path, "lives", "host", creator=65_533)
        assert owners == {0}
        assert {outside.stat().st_uid, lives.path.stat().st_uid, lives.spool.stat().st_uid} == {65_534}


def test_a_given_id_renames_the_worker_and_keeps_its_folder_id(tmp_path: Path) -> None:
    with closing(take_folder(tmp_path, "a", "host")) as folder:
        folder_id = folder.identity.folder_id
    (tmp_path / "workers/a").rename(tmp_path / "workers/b")
    with closing(take_folder(tmp_path, "b", "host")) as folder:
        assert (folder.identity.worker_id, folder.identity.folder_id) == ("b", folder_id)


def test_session_numbers_rise_over_restarts(tmp_path: Path) -> None:
    with closing(take_folder(tmp_path, None, "host")) as folder:
        assert [folder.next_session() for _ in range(12)] == list(range(1, 13))
    with closing(take_folder(tmp_path, None, "host")) as folder:
        assert folder.next_session() == 13


@pytest.mark.parametrize(
    ("name", "content"), [("identity", "{"), ("session", ""), ("session", "x"), ("identity", "[]")]
)
def test_an_unreadable_identity_becomes_a_new_one_since_its_numbers_are_lost(
    tmp_path: Path, name: str, content: str
) -> None:
    with closing(take_folder(tmp_path, None, "host")) as folder:
        before = folder.identity
    (folder.path / name).write_text(content)
    messages: list[str] = []
    with closing(take_folder(tmp_path, None, "host", messages.append)) as folder:
        assert folder.identity.folder_id != before.folder_id
        assert folder.next_session() == 1
    assert len(messages) == 1
    assert str(folder.path) in messages[0]


def test_a_folder_of_a_newer_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with closing(take_folder(tmp_path, "a", "host")) as folder:
        identity, result = folder.path / "identity", folder.spool / "1.batch"
        run = folder.scratch / "run"
    run.mkdir()
    result.write_bytes(b"contentgen spool 2\n")
    document = json.loads(identity.read_text())
    assert document["format"] == 1
    identity.write_text(json.dumps(document | {"format": 2}))
    with pytest.raises(FolderError, match=r"used by a newer version \(format 2, and this one knows 1\)"):
        take_folder(tmp_path, "a", "host")
    assert run.is_dir()
    assert result.exists()
    identity.write_text(json.dumps({key: document[key] for key in ("worker_id", "folder_id")}))
    with closing(take_folder(tmp_path, "a", "host")) as again:  # the first versions marked nothing
        assert again.identity == folder.identity


def test_a_lock_that_a_guard_alone_holds_is_waited_for(tmp_path: Path) -> None:
    """The guard has inherited the lock; the worker, and with it the other lock, is gone."""
    folder = take_folder(tmp_path, None, "host")
    inherited = os.dup(folder.lock_fd)
    folder.close()

    def guard_ends(text: str) -> None:
        messages.append(text)
        os.close(inherited)

    messages: list[str] = []
    with closing(take_folder(tmp_path, None, "host", guard_ends)) as again:
        assert again.path == folder.path
    assert len(messages) == 1
    assert "guard" in messages[0]


def test_working_folders_of_former_runs_are_removed(tmp_path: Path) -> None:
    with closing(take_folder(tmp_path, None, "host")) as folder:
        (folder.scratch / "old").mkdir()
        (folder.scratch / "old/file").write_text("x")
    with closing(take_folder(tmp_path, None, "host")) as folder:
        assert list(folder.scratch.iterdir()) == []


@pytest.fixture
def disk() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_marks_outlive_the_process_until_they_are_cleared(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    marks = StartedMarks(tmp_path, disk)
    for lease_id in ("a", "b/../c", "..", "d"):
        await marks.put(lease_id)
    marks.clear("d")
    marks.clear("never marked")
    assert set(marks.left) == set(), "its own are no former process's"
    later = StartedMarks(tmp_path, disk)
    assert set(later.left) == {"a", "b/../c", ".."}
    later.clear("..")
    assert set(later.left) == {"a", "b/../c"}
    assert len(names(tmp_path)) == 2


# Results on disk: durable before they count, one file a batch, and what recovery makes of damage.


def recovered(folder: Path, disk: ThreadPoolExecutor) -> tuple[list[Entry], list[str]]:
    messages: list[str] = []
    return Spool(folder, disk).recover(messages.append), messages


def entry(lease_id: str) -> Entry:
    return Entry(lease_id, lease_id.encode() * 10)


async def filled(folder: Path, disk: ThreadPoolExecutor, *entries: Entry) -> Spool:
    spool = Spool(folder, disk)
    await asyncio.gather(*map(spool.keep, entries))
    return spool


async def test_results_that_come_during_a_write_share_the_next_file(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    spool, writes, disk_is_free = Spool(tmp_path, disk), list[asyncio.Task[None]](), Event()
    disk.submit(disk_is_free.wait)
    for number in range(10):
        writes.append(asyncio.create_task(spool.keep(entry(str(number)))))
        await asyncio.sleep(0)
    disk_is_free.set()
    await asyncio.gather(*writes)
    assert len(names(tmp_path)) == 2


async def test_a_file_goes_with_the_last_of_its_entries(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    spool = await filled(tmp_path, disk, entry("a"), entry("b"))
    spool.forget("a")
    spool.forget("never kept")
    assert len(names(tmp_path)) == 1
    spool.forget("b")
    assert names(tmp_path) == set()


async def test_recovered_results_are_forgotten_like_the_rest(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    await filled(tmp_path, disk, entry("a"), entry("b"), entry("c"))
    spool = Spool(tmp_path, disk)
    assert spool.recover(lambda _: None) == [entry("a"), entry("b"), entry("c")]
    await spool.keep(entry("d"))
    for lease_id in "abc":
        spool.forget(lease_id)
    assert recovered(tmp_path, disk) == ([entry("d")], [])


@pytest.mark.parametrize("cut", [1, 5, 11, 20])
async def test_a_truncated_file_is_set_aside_and_its_whole_entries_are_kept(
    tmp_path: Path, disk: ThreadPoolExecutor, cut: int
) -> None:
    await filled(tmp_path, disk, entry("a"))
    await filled(tmp_path, disk, entry("b"), entry("c"))
    damaged = tmp_path / "2.batch"
    damaged.write_bytes(damaged.read_bytes()[:-cut])

    entries, messages = recovered(tmp_path, disk)
    assert entries == [entry("a"), entry("b")]
    assert len(messages) == 1
    assert str(damaged) in messages[0]
    assert names(tmp_path / "unreadable") == {"2.batch"}
    assert recovered(tmp_path, disk) == (entries, []), "what could be read was written anew"


async def test_a_flipped_bit_is_noticed(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    await filled(tmp_path, disk, entry("a"))
    path = tmp_path / "1.batch"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    entries, messages = recovered(tmp_path, disk)
    assert entries == []
    assert "damaged" in messages[0]


async def test_a_disk_that_refuses_is_an_error_of_that_entry(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    spool = await filled(folder, disk, entry("a"))
    folder.rename(tmp_path / "away")
    with pytest.raises(OSError, match="No such file"):
        await spool.keep(entry("b"))
    (tmp_path / "away").rename(folder)
    await spool.keep(entry("b"))
    assert recovered(folder, disk) == ([entry("a"), entry("b")], [])


async def test_a_write_that_fails_for_no_one_is_no_error_of_the_loop(disk: ThreadPoolExecutor) -> None:
    """Its only caller was cancelled."""

    def refuse(_: Sequence[str]) -> None:
        raise OSError("disk full")

    writer, reports = GroupWriter(refuse, disk), list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["message"]))
    put = asyncio.create_task(writer.put("a"))
    await asyncio.sleep(0)
    put.cancel()
    await asyncio.wait([put])
    assert put.cancelled()
    await writer.close()
    del put, writer  # the loop reports an error once the task that had it is gone
    gc.collect()
    assert reports == []


async def test_foreign_files_in_the_spool_are_set_aside_unread(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    spool, treasure = tmp_path / "spool", tmp_path / "treasure"
    spool.mkdir()
    await filled(spool, disk, entry("a"))
    await filled(treasure.parent, disk, entry("not the spool's"))
    (tmp_path / "1.batch").rename(treasure)
    (spool / "2.batch").symlink_to(treasure)
    (spool / "3.batch").symlink_to("/dev/zero")
    os.mkfifo(spool / "4.batch")
    with (spool / "5.batch").open("wb") as sparse:
        sparse.truncate(1 << 40)
    (spool / "6.batch").mkdir()
    (spool / "7.batch").write_bytes(b"\x00\xff garbage")
    (spool / "8.batch.tmp").write_bytes(b"half a write")
    (spool / "notes.txt").write_text("not ours")
    entries, messages = recovered(spool, disk)
    assert entries == [entry("a")]
    assert len(messages) == 6
    assert names(spool) == {"1.batch", "notes.txt", "unreadable"}
    assert names(spool / "unreadable") == {f"{number}.batch" for number in range(2, 8)}
    assert treasure.is_file()


@contextmanager
def disk_with_space_for(size: int) -> Iterator[None]:
    """No file may grow beyond that, as on a full disk: empty ones can be made."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_disk_without_space_for_results_is_told_by_a_probe(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    spool = Spool(tmp_path, disk)
    with disk_with_space_for(500_000), pytest.raises(OSError, match="too large"):
        await spool.probe()
    assert names(tmp_path) == set()
    await spool.probe()
    assert names(tmp_path) == set()


# In which order writes reach the disk: what a power cut may not undo is synced before it counts.


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in order; each call does its work."""
    done: list[str] = []
    fsync, rename, touch = os.fsync, Path.rename, Path.touch

    def synced(descriptor: int) -> None:
        info = os.fstat(descriptor)
        ours = os.path.samestat(info, tmp_path.stat())
        file = f"file of {info.st_size} bytes"
        done.append(f"sync {file if stat.S_ISREG(info.st_mode) else 'folder' if ours else 'another folder'}")
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append(f"rename to {target.name}")
        return rename(path, target)

    def touched(path: Path, mode: int) -> None:
        done.append(f"touch {path.name}")
        touch(path, mode)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "touch", touched)
    return done


def test_a_file_is_synced_before_it_has_its_name_and_its_name_after_that(tmp_path: Path, steps: list[str]) -> None:
    path = tmp_path / "result"
    for data in (b"old", b"newer"):
        steps.clear()
        replace_file(path, data)
        assert steps == [f"sync file of {len(data)} bytes", "rename to result", "sync folder"]
        assert path.read_bytes() == data


async def test_a_mark_is_put_once_its_name_is_synced(
    tmp_path: Path, disk: ThreadPoolExecutor, steps: list[str]
) -> None:
    await StartedMarks(tmp_path, disk).put("a")
    assert steps == ["touch a", "sync folder"]


def test_a_session_number_is_synced_before_it_is_used(tmp_path: Path, steps: list[str]) -> None:
    with closing(take_folder(tmp_path, None, "host")) as folder:
        steps.clear()
        assert folder.next_session() == 1
    assert steps == ["sync file of 20 bytes"]
