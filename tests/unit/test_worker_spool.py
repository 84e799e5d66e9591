"""Results on disk: durable before they count, one file a batch, and what recovery makes of damage."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker_svc.spool import Entry, Spool


@pytest.fixture
def disk() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def recovered(folder: Path, disk: ThreadPoolExecutor) -> tuple[list[Entry], list[str]]:
    messages: list[str] = []
    return Spool(folder, disk).recover(messages.append), messages


def entry(lease_id: str, size: int = 10) -> Entry:
    return Entry(lease_id, lease_id.encode() * size)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def filled(folder: Path, disk: ThreadPoolExecutor, *entries: Entry) -> Spool:
    spool = Spool(folder, disk)
    await asyncio.gather(*map(spool.keep, entries))
    return spool


async def test_spooled_results_outlive_the_process(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    await filled(tmp_path, disk, entry("a"), entry("b"), entry("c"))
    assert recovered(tmp_path, disk) == ([entry("a"), entry("b"), entry("c")], [])


async def test_results_that_come_during_a_write_share_the_next_file(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    await filled(tmp_path, disk, *(entry(str(number)) for number in range(500)))
    assert len(names(tmp_path)) <= 2


async def test_a_file_goes_with_the_last_of_its_entries(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    spool = await filled(tmp_path, disk, entry("a"), entry("b"))
    spool.forget("a")
    spool.forget("never kept")
    assert len(names(tmp_path)) == 1
    spool.forget("b")
    assert names(tmp_path) == set()


async def test_recovered_results_are_forgotten_like_the_rest(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    await filled(tmp_path, disk, entry("a"))
    spool = Spool(tmp_path, disk)
    spool.recover(lambda _: None)
    await spool.keep(entry("b"))
    spool.forget("a")
    assert recovered(tmp_path, disk) == ([entry("b")], [])


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


async def test_foreign_files_lose_nothing_else(tmp_path: Path, disk: ThreadPoolExecutor) -> None:
    await filled(tmp_path, disk, entry("a"))
    (tmp_path / "notes.txt").write_text("not ours")
    (tmp_path / "9.batch").write_bytes(b"\x00\xff garbage")
    (tmp_path / "3.batch").mkdir()
    (tmp_path / "8.batch.tmp").write_bytes(b"half a write")
    entries, messages = recovered(tmp_path, disk)
    assert entries == [entry("a")]
    assert len(messages) == 2
    assert (tmp_path / "notes.txt").exists()
    assert not (tmp_path / "8.batch.tmp").exists()
    assert names(tmp_path / "unreadable") == {"9.batch", "3.batch"}


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
    entries, messages = recovered(spool, disk)
    assert entries == [entry("a")]
    assert len(messages) == 5
    assert names(spool) == {"1.batch", "unreadable"}
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
