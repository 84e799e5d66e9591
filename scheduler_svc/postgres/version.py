"""Checks that the programs have the major version of the cluster.  Part of `scheduler_svc.postgres`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from scheduler_svc.postgres.errors import PostgresError
from scheduler_svc.postgres.folders import ELSEWHERE

_VERSION = re.compile(r"PostgreSQL\) (\d+)")


def check_version(data: Path, bindir: Path) -> None:
    """Raises:
    PostgresError: another major version made the cluster, which the server itself would only log.
    """
    made_by, programs = (data / "PG_VERSION").read_text().strip(), _major(bindir)
    if made_by == programs:
        return
    newer = made_by.isdigit() and int(made_by) > int(programs)
    advice = (
        "start the version of contentgen that made it, or name programs of that version in CONTENTGEN_PG_BINDIR"
        if newer
        else f"with programs of PostgreSQL {made_by} in CONTENTGEN_PG_BINDIR `contentgen-scheduler backup` reads it; "
        "restore that into a new data folder"
    )
    raise PostgresError(
        f"the database in {data} was made by PostgreSQL {made_by}, and the programs in {bindir} are PostgreSQL "
        f"{programs}: {advice}; or {ELSEWHERE}"
    )


def _major(bindir: Path) -> str:
    output = subprocess.check_output([bindir / "postgres", "--version"], text=True, stdin=subprocess.DEVNULL)
    match = _VERSION.search(output)
    if match is None:
        raise PostgresError(f"{bindir / 'postgres'} has no readable version: {output.strip()!r}")
    return match[1]
