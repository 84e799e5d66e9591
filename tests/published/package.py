"""The npm package llm-content-creator, as it is published, installed once on a machine.

It is put beside the caches of other programs, not into the checkout: compiling its SQLite module takes a minute.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAME = "llm-content-creator"
VERSION = "0.2.0"
INTEGRITY = "sha512-XHs/2arU7q178l4+bZa3xO99uTsuyR5KOJV0V9s808zS7O0tsMAK/PDetKZyDgrYa7K9CYXb5ZcnELPylZCRMg=="
"""What the registry says of exactly this version's archive."""

_NATIVE = ("better-sqlite3", "msgpackr-extract")
"""Dependencies whose install scripts have to run."""
_INSTALL_LIMIT = 540.0
_CLI = Path("node_modules", ".bin", "content-creator")


def installed() -> Path:
    """The path of its CLI; skips the test where npm is missing."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip(f"npm is missing: the tests of {NAME} need Node.js 20 or newer with npm on the PATH")
    folder = _cache() / f"{NAME}-{VERSION}-{_abi(node)}"
    with _locked(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            _install(npm, folder)
    return folder / _CLI


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(root) if root else Path.home() / ".cache") / "contentgen"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _abi(node: str) -> str:
    """What a compiled module fits: another Node needs another one."""
    show = "[process.platform, process.arch, process.versions.modules].join('-')"
    return subprocess.run([node, "-p", show], capture_output=True, text=True, timeout=30, check=True).stdout.strip()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process installs, the others wait for it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(npm: str, folder: Path) -> None:
    """Installs into a folder beside `folder`, which is only there once it is whole."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        making = Path(temporary, "package")
        making.mkdir()
        wanted = {
            "private": True,
            "dependencies": {NAME: VERSION},
            "allowScripts": dict.fromkeys(_NATIVE, True),
        }
        (making / "package.json").write_text(json.dumps(wanted))
        options = ["--omit=dev", "--ignore-scripts=false", "--no-audit", "--no-fund", "--no-progress"]
        done = subprocess.run(
            [npm, "install", *options], cwd=making, capture_output=True, text=True, timeout=_INSTALL_LIMIT, check=False
        )
        if done.returncode != 0:
            pytest.fail(f"npm install {NAME}@{VERSION} exited with {done.returncode}:\n{done.stderr[-4000:]}")
        locked = json.loads((making / "package-lock.json").read_text())["packages"][f"node_modules/{NAME}"]
        assert (locked["version"], locked["integrity"]) == (VERSION, INTEGRITY), "this is not the published package"
        making.rename(folder)
