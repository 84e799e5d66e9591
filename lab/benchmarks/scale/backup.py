"""A backup beside a steady load: how long it takes, what calls feel, and whether it can be restored."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

from lab.benchmarks import scenario
from lab.benchmarks.scale import beside
from lab.benchmarks.scale.case import Case, Size, Sizes
from lab.benchmarks.scale.filled import FILL, filled, years
from lab.benchmarks.scale.rows import Row
from lab.benchmarks.scale.sampled import MIB
from lab.benchmarks.stack import Stack
from tests.harness.process import installed

CALLS = "backup: calls beside it, milliseconds"
BACKUPS = "backup: what it takes"


async def measure(folder: Path, sizes: Sizes) -> AsyncIterator[Row]:
    """One that is only written, then one that is also restored elsewhere and compared row by row."""
    async with filled(folder, years(sizes)) as stack, beside.load(stack, sizes) as load:
        for kind, arguments in (("written", []), ("written and proved", ["--verify"])):
            baseline = await load.alone(sizes.one("alone"))
            yield await _back_up(stack, kind, *arguments)
            for row in beside.compared(f"{CALLS}, {kind}", baseline, await load.take()):
                yield row


async def _back_up(stack: Stack, kind: str, *arguments: str) -> Row:
    """Raises WrongCounts if the command fails."""
    file = stack.folder / "years.backup"
    begin = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(str(installed("contentgen-scheduler")), "backup", *arguments, str(file)),
        env=os.environ | {"CONTENTGEN_DATA_DIR": str(stack.folder / "data"), "TMPDIR": str(stack.folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    seconds = time.monotonic() - begin
    if process.returncode:
        raise scenario.WrongCounts(f"the backup ended with {process.returncode}: {output.decode()}")
    size = file.stat().st_size
    file.unlink()
    database = stack.query("SELECT pg_database_size(current_database())")
    return Row(
        BACKUPS,
        {
            "backup": kind,
            "seconds": round(seconds, 1),
            "database, MiB": round(database / MIB),
            "file, MiB": round(size / MIB),
            "it says": output.decode().strip().splitlines()[-1].rpartition(": ")[2],
        },
    )


CASE = Case(
    "backup",
    "A backup of many tasks beside a steady load.",
    "6 minutes after the fill",
    measure,
    FILL
    | beside.SIZES
    | {
        "tasks": Size((1_000_000,), (3_000,), "ended tasks"),
        "contents": Size((1_000_000,), (3_000,), "the newest so many have their contents"),
        "body": Size((2_000,), (2_000,), "bytes of an article"),
    },
)
