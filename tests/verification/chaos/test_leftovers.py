"""What services may leave behind is found where they would leave it."""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from tests.harness.waiting import wait_until
from verification.chaos.leftovers import left_by_postgres, left_by_services

NOBODY: frozenset[int] = frozenset()


@pytest.fixture
def dsn(db_url: str) -> str:
    return db_url.replace("+psycopg2", "")


def kinds(folder: Path, dsn: str, spared: frozenset[int] = NOBODY) -> list[str]:
    return [left.kind for left in left_by_services(folder, [folder / "worker"], dsn, spared)]


def test_an_empty_folder_has_no_leftovers(tmp_path: Path, dsn: str) -> None:
    assert kinds(tmp_path, dsn) == []
    assert left_by_postgres(tmp_path, [tmp_path / "socket"], NOBODY) == []


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
    assert [left.kind for left in left_by_postgres(tmp_path / "folder", [tmp_path], NOBODY)] == ["socket folder"]
