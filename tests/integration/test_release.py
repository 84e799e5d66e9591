"""The released wheel and sdist: reproducible, and the wheel can be built from the sdist."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
VERSION = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"]


def build(source: Path, target: str, into: Path) -> Path:
    """A wheel or an sdist of a folder."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)],
        cwd=source,
        env={"SOURCE_DATE_EPOCH": "1700000000"},
        check=True,
        capture_output=True,
        timeout=120,
    )
    [built] = into.iterdir()
    return built


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the checkout."""
    return build(CHECKOUT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist's source tree: another folder, with other times of files."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    [source] = folder.iterdir()
    return source


def test_the_sdist_makes_the_same_wheel_as_the_checkout(unpacked: Path, tmp_path: Path) -> None:
    wheels = [build(CHECKOUT, "wheel", tmp_path / "checkout"), build(unpacked, "wheel", tmp_path / "sdist")]
    assert digest(wheels[0]) == digest(wheels[1])


def test_the_sdist_reproduces_itself(sdist: Path, unpacked: Path, tmp_path: Path) -> None:
    assert digest(build(unpacked, "sdist", tmp_path / "again")) == digest(sdist)


def test_the_sdist_has_sources_and_no_tests_nor_data(unpacked: Path) -> None:
    names = {path.name for path in unpacked.iterdir()}
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "protos", "contentgen"} <= names
    assert not names & {"tests", "verification", "benchmarks", ".venv", ".contentgen"}


def test_the_names_have_the_version(sdist: Path) -> None:
    assert sdist.name == f"contentgen_grpc-{VERSION}.tar.gz"


def test_the_changelog_begins_with_the_version() -> None:
    versions = re.findall(r"^## \[([^]]+)\]", (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions[0] in {VERSION, "Unreleased"}
    assert VERSION in versions
