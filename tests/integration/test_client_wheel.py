"""The plain package alone: what a service that only wants the client installs, and nothing that this checkout has."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
DIRECT = {"grpcio", "grpcio-status", "protobuf", "googleapis-common-protos"}
USE = """
import importlib, pkgutil
from scheduler_svc import client
for module in pkgutil.iter_modules(client.__path__, "scheduler_svc.client."):
    importlib.import_module(module.name)
with client.ContentGenerationClient("127.0.0.1:1", timeout=0.2) as made:
    try:
        made.cancel_task("task-0")
    except client.client.grpc.RpcError as error:
        print(error.code().name, client.__file__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel"]
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    subprocess.run([*pip, *options, str(CHECKOUT)], check=True, timeout=120)
    [found] = folder.glob("*.whl")
    return found


def test_the_client_works_with_its_four_dependencies_and_what_they_need(wheel: Path, tmp_path: Path) -> None:
    assert set(requirements(wheel)) == DIRECT
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    for name in closure(DIRECT):
        link(metadata.distribution(name), installed)
    assert not (installed / "sqlalchemy").exists()
    # -S: no site-packages, so none but these
    program = f"import sys; sys.path.insert(0, {str(installed)!r})\n{USE}"
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ran.stdout.split() == ["UNAVAILABLE", str(installed / "scheduler_svc/client/__init__.py")]
    assert ran.stderr == ""


def test_the_package_says_that_it_is_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert {"scheduler_svc/py.typed", "scheduler_svc/client/watch.py"} <= set(archive.namelist())
        assert "contentgen/v1/task_pb2.pyi" in archive.namelist()


def requirements(wheel: Path) -> Iterator[str]:
    """What it needs without extras."""
    [found] = metadata.distributions(path=[str(wheel)])
    return plain(found.requires)


def closure(names: set[str]) -> set[str]:
    """These packages with all that they need."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(plain(metadata.distribution(name).requires)) - found
    return found


def plain(requires: list[str] | None) -> Iterator[str]:
    for requirement in requires or ():
        if "extra ==" not in requirement:
            yield re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def link(distribution: metadata.Distribution, into: Path) -> None:
    """Its files, and none of another package that shares a folder with it."""
    for file in distribution.files or ():
        if ".." not in file.parts:
            target = into / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(str(distribution.locate_file(file)))
