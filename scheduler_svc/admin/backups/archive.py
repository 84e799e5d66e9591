"""Reads what a backup file is, before it is restored. Part of `scheduler_svc.admin.backups`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scheduler_svc.admin.backups.programs import ProgramFailed, Programs
from scheduler_svc.schema.compatibility import Declaration

_MAGIC = b"PGDMP"
_ENTRIES = re.compile(r"^;\s+TOC Entries: (\d+)", re.MULTILINE)
_MADE = re.compile(r"^; Archive created at (.+)$", re.MULTILINE)
_SERVER = re.compile(r"^;\s+Dumped from database version: (\d+)", re.MULTILINE)
_OURS = ("alembic_version", "tasks", "leases", "reaper")
_REVISION = re.compile(r"^COPY public\.alembic_version .*;\n(\S+)", re.MULTILINE)
_DECLARATION = re.compile(
    r'^COPY public\.schema_compatibility \("only", oldest_code, migrated_by.*;\n\S+\t(\S+)\t(\S+)', re.MULTILINE
)


_SERVING = re.compile(
    r"^GRANT [^;]*\bINSERT\b[^;]* ON TABLE public\.tasks TO ([^;]+?)(?: WITH GRANT OPTION)?;$", re.MULTILINE
)


class CannotRestore(Exception):
    """The backup can't be restored; nothing was changed. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup file. `made` is its time, `server` the major version of PostgreSQL, `entries` its number of steps."""

    path: Path
    made: str
    server: int
    entries: int
    revision: str
    declaration: Declaration | None


def read_archive(path: Path, programs: Programs) -> Archive:
    """Raises CannotRestore if it is no backup, PostgresError if there is no program to read it."""
    _check_begin(path)
    try:
        contents = programs.read("pg_restore", "--list", str(path))
        missing = [table for table in _OURS if f" TABLE public {table} " not in contents]
        if missing:
            raise CannotRestore(f"{path} is a dump of another database: it has no table {', '.join(missing)}")
        tables = [f"--table={table}" for table in ("alembic_version", "schema_compatibility")]
        rows = programs.read("pg_restore", "--data-only", *tables, "--file=-", str(path))
    except ProgramFailed as error:
        raise CannotRestore(f"{path} can't be read as a backup; it may be incomplete\n{error}") from None
    entries, creation, server, revision = (
        pattern.search(text)
        for pattern, text in ((_ENTRIES, contents), (_MADE, contents), (_SERVER, contents), (_REVISION, rows))
    )
    if not (entries and creation and server and revision):
        raise CannotRestore(f"{path} does not say when, by which version and of which schema it was made")
    declared = _DECLARATION.search(rows)
    declaration = Declaration(*declared.groups()) if declared else None
    return Archive(path, creation[1], int(server[1]), int(entries[1]), revision[1], declaration)


def serving_roles(path: Path, programs: Programs) -> list[str]:
    """The roles that might write tasks, besides the owner, where the backup was made."""
    script = programs.read("pg_restore", "--schema-only", "--file=-", str(path))
    return sorted({role.strip('"').replace('""', '"') for role in _SERVING.findall(script)})


def _check_begin(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC))
    except OSError as error:
        raise CannotRestore(f"{path} can't be read: {error.strerror}") from None
    if begin != _MAGIC:
        raise CannotRestore(f"{path} is not a backup: `contentgen-scheduler backup` makes one")
