"""`setup/venv.py`, which the Makefile runs: what uv is told, and that pip takes over where there is no uv."""

from __future__ import annotations

import hashlib
import shutil
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from setup.venv import as_uv_has_them
from tests.harness.process import inherited, installed, run_to_end

INSTALLER = Path(__file__).parents[2] / "setup/venv.py"
LIMIT = 120
NEW_PIP = pytest.mark.release("installs pip into an environment that has none, which takes seconds")
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


@pytest.mark.parametrize("by", ["uv", "a pip", pytest.param("a new pip", marks=NEW_PIP)])
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
