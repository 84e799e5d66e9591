"""Checks that migrations newer than the first released schema only expand. Run by `make verify`.

Each is applied to an empty database of the schema before it, and the server's catalogs are compared: the version before
has to go on reading and writing as it did. A contraction, which takes away or tightens what no version from its
`oldest_code` on needs, may do so. What the check can't see: rows that a migration changes, triggers and functions, and
how long a lock on a large table is held, otherwise than by rewriting it or by building an index.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from scheduler_svc.schema.alembic_folder import MigrationFolder
from scheduler_svc.schema.migrate import MIGRATIONS, upgrade
from tests.harness.cluster import throwaway_server
from verification.generated.schema import Thing, catalog

BASELINE = "0001"
"""The schema of the first release."""

_FOR_PEOPLE = ("view", "comment")
"""What no version reads."""
_NO_INDEX = ("column", "constraint", "sequence", "view")
_FILES = sa.text(
    "SELECT relname, relfilenode FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
)


def main() -> int:
    """Returns the exit status: 0 if each only expands, else 1 with what does not on the standard output."""
    with throwaway_server() as server:
        engine = sa.create_engine(server.url(), poolclass=sa.NullPool)
        faults = check(engine, MIGRATIONS)
        engine.dispose()
    print("\n".join(faults) or f"migrations after {BASELINE} only expand")
    return 1 if faults else 0


def check(engine: sa.Engine, migrations: Path, baseline: str = BASELINE) -> list[str]:
    """What the migrations after `baseline` do against the rules; `engine` is of a database that has none of them."""
    faults: list[str] = []
    oldest_before = baseline
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "migrations")
        shutil.copytree(migrations, folder, ignore=lambda *_: ["versions", "__pycache__"])
        (folder / "versions").mkdir()
        for script in MigrationFolder(migrations).scripts():
            for path in (migrations / "versions").glob(f"{script.revision}_*.*"):
                shutil.copy(path, folder / "versions")
            if script.revision < baseline:
                continue
            before = _read(engine)
            statements = _apply(engine, folder)
            if script.revision > baseline:
                oldest = getattr(script.module, "oldest_code", "")
                problems = [*_check_declared(oldest, oldest_before, script.revision)]
                problems += _check_change(before, _read(engine), statements, contracts=oldest > oldest_before)
                faults += [f"{Path(script.path).name}: {fault}" for fault in problems]
                oldest_before = max(oldest, oldest_before)
    return faults


class _State(NamedTuple):
    """What is there, and the file of each table: a table that is rewritten gets another one."""

    things: dict[Thing, str]
    files: dict[str, int]


def _check_declared(oldest: str, oldest_before: str, revision: str) -> Iterator[str]:
    if not oldest:
        yield "declares no oldest_code, the oldest revision whose code may still run"
    elif not oldest_before <= oldest < revision:
        yield f"oldest_code is {oldest}; it must be {oldest_before} or newer, and of a version before this one"


def _check_change(before: _State, after: _State, statements: Sequence[str], *, contracts: bool) -> Iterator[str]:
    if not contracts:
        yield from _check_what_was_there(before, after, statements)
    for table in sorted(before.files.keys() & after.files.keys()):
        if before.files[table] != after.files[table]:
            yield f"rewrites table {table}, and keeps everyone out meanwhile"
    additions = sorted(after.things.keys() - before.things.keys())
    builds = [statement for statement in statements if "INDEX CONCURRENTLY" in statement]
    if builds and any(thing.kind in _NO_INDEX for thing in additions):
        yield "does more than to build indexes, and so can't be run again where it was cut off: make it two"
    for thing in additions:
        if thing.table not in before.files:
            continue
        if not contracts:
            yield from _check_addition(thing, after.things[thing])
        if thing.kind == "index" and not any(f"INDEX CONCURRENTLY {thing.name} " in build for build in builds):
            yield f"adds {thing} and keeps writers out meanwhile: build_index does not"


def _check_what_was_there(before: _State, after: _State, statements: Sequence[str]) -> Iterator[str]:
    for thing, definition in sorted(before.things.items()):
        if thing.kind in _FOR_PEOPLE:
            continue
        if thing not in after.things:
            yield f"removes {thing}; only a contraction may, whose oldest_code is that of a version without it"
        elif _compared(thing, after.things[thing]) == _compared(thing, definition):
            continue
        elif thing.kind != "constraint" or not _only_widens(definition, after.things[thing]):
            yield f"changes {thing} from {definition!r} to {after.things[thing]!r}"
        elif not any(
            f"ADD CONSTRAINT {thing.name} " in statement and "NOT VALID" in statement for statement in statements
        ):
            yield f"widens {thing} and keeps everyone out while rows are read: widen_check does not"


_VACUUMS = re.compile(r"autovacuum_\w+=[^,]*(, )?")


def _compared(thing: Thing, definition: str) -> str:
    """All of it that versions depend on: when a table is vacuumed is nothing that they do."""
    return _VACUUMS.sub("", definition).removesuffix(", ") if thing.kind == "options" else definition


_LISTED = re.compile(r"(?<=\) = ANY \(ARRAY\[)[\d, ]+(?=\]\)\)+$)")
"""The numbers of the last condition of a CHECK that are all joined by AND."""


def _only_widens(before: str, after: str) -> bool:
    """Returns whether a CHECK differs in its last condition only, by more numbers that this may be."""
    if " OR " in before or "NOT" in before or _LISTED.sub("", before) != _LISTED.sub("", after):
        return False
    earlier_values, later_values = (set(_LISTED.findall(text)[0].split(", ")) for text in (before, after))
    return earlier_values < later_values


def _check_addition(thing: Thing, definition: str) -> Iterator[str]:
    """Of something new at a table that was there."""
    if thing.kind == "column" and "NOT NULL" in definition and not re.search(r"DEFAULT| [ad]$", definition):
        yield f"adds {thing}, which the version before does not fill: it needs a default, or to be nullable"
    if thing.kind == "constraint" and not definition.startswith("NOT NULL"):
        yield f"adds {thing}, which may refuse what the version before writes"
    if thing.kind == "index" and "UNIQUE" in definition:
        yield f"adds the unique {thing}, which may refuse what the version before writes"


def _apply(engine: sa.Engine, folder: Path) -> list[str]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: Any) -> None:
        statements.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    upgrade(engine, migrations=folder)
    sa.event.remove(engine, "before_cursor_execute", note)
    return statements


def _read(engine: sa.Engine) -> _State:
    with engine.connect() as connection:
        return _State(catalog(connection), {str(table): int(file) for table, file in connection.execute(_FILES)})


if __name__ == "__main__":
    sys.exit(main())
