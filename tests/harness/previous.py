"""The programs of the version before this one: its own code, on the packages that are installed here.

`tests/previous` has its wheel, which `make previous` builds from a commit.
"""

from __future__ import annotations

import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

_WHEELS = Path(__file__).parents[1] / "previous"
_PROGRAM = """\
#!{python}
import sys
sys.path.insert(0, {site!r})
from {module}.main import main
main()
"""


@dataclass(frozen=True)
class Previous:
    scheduler: Path
    worker: Path


def previous_version(folder: Path) -> Previous:
    """Unpacks it into `folder`."""
    (wheel,) = _WHEELS.glob("contentgen_grpc-*.whl")
    site = folder / "previous"
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    return Previous(_program(site, "scheduler_svc"), _program(site, "worker_svc"))


def _program(site: Path, module: str) -> Path:
    path = site / f"{module}.program"
    path.write_text(_PROGRAM.format(python=sys.executable, site=str(site), module=module))
    path.chmod(0o755)
    return path
