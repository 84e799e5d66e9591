"""Writes what is shipped into a folder: for each installation a CycloneDX SBOM and its licences. Run by `make sbom`.

The SBOMs are cyclonedx-bom's. It describes an environment, so it gets one that consists of the metadata of what an
installation brings along.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from importlib.metadata import Distribution
from pathlib import Path

from verification.shipped.distributions import INSTALLATIONS, shipped, table

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"
_TIMEOUT = 120.0
"""Seconds for a run of the generator."""


def main(arguments: Sequence[str]) -> int:
    """Arguments: the program of cyclonedx-bom, and the folder."""
    generator, folder = Path(arguments[0]), Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, extra in INSTALLATIONS.items():
        packages = shipped({extra} - {""})
        (folder / f"{name}.licences.md").write_text(table(packages), encoding="utf-8")
        with tempfile.TemporaryDirectory() as scratch:
            _describe(generator, environment(Path(scratch), packages), folder / f"{name}.cdx.json")
        print(f"{folder / name}.cdx.json, .licences.md: {len(packages)} distributions")
    return 0


def environment(folder: Path, found: Sequence[Distribution]) -> Path:
    """Returns the Python of an environment that has the metadata of these, and nothing else."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for package in found:
        (metadata,) = (path for path in package.files or () if path.name == "METADATA")
        metadata_folder = site / f"{package.name.replace('-', '_')}-{package.version}.dist-info"
        metadata_folder.mkdir()
        shutil.copy(str(metadata.locate()), metadata_folder)
    return folder / "bin" / "python"


def _describe(generator: Path, python: Path, file: Path) -> None:
    command = [generator, "environment", "--pyproject", _PROJECT, "--mc-type", "application", "--output-reproducible"]
    command += ["--spec-version", "1.6", "--output-format", "JSON", "--output-file", file, python]
    subprocess.run([str(part) for part in command], check=True, timeout=_TIMEOUT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
