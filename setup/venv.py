"""Installs the packages of a lock, and this checkout, into a venv. The Makefile runs it.

It runs before anything is installed, so it uses the standard library only. uv installs, several times as fast as pip;
pip brings it. If there is no uv for this platform, or uv fails, pip installs from the same lock.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

UV_LOCK = Path(__file__).with_name("uv.lock")
OLDEST_PIP = (22, 3)
"""That installs into another environment than its own (`--python`)."""
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "proxy": "ALL_PROXY",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""Options of pip, and the variables by which uv has them."""
_LISTED = (" + ", " - ", " ~ ", "Using Python ")
"""How lines of uv begin that nobody needs: there is one for each package."""


def main(arguments: Sequence[str]) -> int:
    """The exit status. Arguments: the venv, the lock, and a checkout to install without its dependencies."""
    venv, lock = Path(arguments[0]), Path(arguments[1])
    parts = [["--no-deps", "--require-hashes", "-r", str(lock)], *(_editable(checkout) for checkout in arguments[2:])]
    print(f"installing {lock} into {venv}", flush=True)
    try:
        return 0 if _by_uv(venv, parts) or _by_pip(venv, parts) else 1
    except KeyboardInterrupt:
        return 130


def _editable(checkout: str) -> list[str]:
    """With the build backend that the lock has."""
    return ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-e", checkout]


def _by_uv(venv: Path, parts: Sequence[Sequence[str]]) -> bool:
    """Whether uv could."""
    pip = _pip(venv)
    with subprocess.Popen([*pip, "config", "list"], stdout=subprocess.PIPE, text=True) as configured:
        uv = _is_there(venv) or _bring_uv(pip)
        options = as_uv_has_them(configured.communicate()[0])
    install = [str(venv / "bin/uv"), "pip", "install", "--compile-bytecode", "--python", str(venv / "bin/python")]
    if uv and all(_shown([*install, *part], {**options, **os.environ}) for part in parts):
        return True
    print("uv cannot install here: pip does, which takes longer", flush=True)
    return False


def _bring_uv(pip: Sequence[str]) -> bool:
    """Whether pip could. It builds none: that would take a compiler, and minutes."""
    print(f"pip installs uv from {UV_LOCK.name}", flush=True)
    return _run([*pip, "--quiet", "install", "--only-binary=:all:", "--require-hashes", "-r", str(UV_LOCK)])


def _by_pip(venv: Path, parts: Sequence[Sequence[str]]) -> bool:
    return all(_run([*_own_pip(venv), "install", "--progress-bar=off", *part]) for part in parts)


def _is_there(venv: Path) -> bool:
    """Whether the venv has the uv of the lock."""
    program, pin = venv / "bin/uv", UV_LOCK.read_text(encoding="utf-8").split()[0]
    if not program.exists():
        return False
    version = subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout
    return version.split()[1:2] == [pin.partition("==")[2]]


def _pip(venv: Path) -> list[str]:
    """This Python's, if it can install elsewhere: a pip of the venv's own takes seconds to install."""
    try:
        version = tuple(int(part) for part in metadata.version("pip").split(".")[:2])
    except (metadata.PackageNotFoundError, ValueError):
        return _own_pip(venv)
    here = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(venv / "bin/python")]
    return here if version >= OLDEST_PIP else _own_pip(venv)


def _own_pip(venv: Path) -> list[str]:
    python = str(venv / "bin/python")
    if not any(venv.glob("lib/python*/site-packages/pip")):
        subprocess.run([python, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
    return [python, "-m", "pip", "--disable-pip-version-check"]


def as_uv_has_them(listed: str) -> dict[str, str]:
    """What pip is configured to use, such as a mirror, as variables for uv, which does not read pip's files.

    Args:
        listed: what `pip config list` prints.
    """
    variables: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        name, _, text = line.partition("=")
        section, _, option = name.rpartition(".")
        if option in _VARIABLES and section in {"global", "install", ":env:"}:
            separator = "," if option == "find-links" else " "
            variables[_VARIABLES[option]] = separator.join(str(ast.literal_eval(text)).split())
    if "UV_INDEX" in variables:
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip looks; the hashes make it safe
    return variables


def _run(command: Sequence[str]) -> bool:
    return subprocess.run(command, check=False).returncode == 0


def _shown(command: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Runs it; its lines are shown as they come, but not those of each package."""
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            if not line.startswith(_LISTED):
                print(line.strip(), flush=True)
    return process.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
