"""In which order writes reach the disk: what a power cut may not undo is synced before it counts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from worker_svc.durable import replace_file
from worker_svc.folder import StartedMarks, take_folder


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


@pytest.fixture
def disk() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def test_a_file_is_synced_before_it_has_its_name_and_its_name_after_that(tmp_path: Path, steps: list[str]) -> None:
    path = tmp_path / "result"
    replace_file(path, b"old")
    assert steps == ["sync file of 3 bytes", "rename to result", "sync folder"]
    steps.clear()
    replace_file(path, b"newer")
    assert steps == ["sync file of 5 bytes", "rename to result", "sync folder"]
    assert path.read_bytes() == b"newer"


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
