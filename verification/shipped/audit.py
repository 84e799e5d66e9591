"""Looks at the locked dependencies, and says what it could not know. Run by `make audit`; arguments go to pip-audit.

All but the advisories needs no network. The exit status is 0 if every check was made and found nothing, 1 if one found
something, and 75 if the advisories of some distribution could not be read, and nothing else was found.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from verification.shipped.distributions import INSTALLATIONS, OURS, shipped
from verification.shipped.licences import is_allowed, licence

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
UV_LOCK = ROOT / "setup/uv.lock"
NOT_LOCKED = frozenset({OURS, "setuptools"})
"""What an environment has of itself."""
UNKNOWN = 75
_INSTALL_TIMEOUT = 120.0
_QUERY_TIMEOUT = 300.0
"""Seconds, however slowly the index or the service of advisories answers."""
_NAMED = 5
_OK, _FAIL, _NOT_KNOWN = "ok", "FAIL", "?"
_STATUSES = {_OK: 0, _NOT_KNOWN: UNKNOWN, _FAIL: 1}


class Pin(NamedTuple):
    """A line of a lock file."""

    name: str
    version: str
    """Empty if it names no single version, or no hash."""
    here: bool
    """Whether it applies to this Python and this platform."""


class Finding(NamedTuple):
    """What one check says."""

    verdict: str
    check: str
    text: str


def main(arguments: Sequence[str]) -> int:
    """The exit status. Arguments: what pip installs as pip-audit, and then those of pip-audit."""
    found = []
    for each in findings(arguments[0], arguments[1:]):
        print(f"{each.verdict:<4}  {each.check:<10}  {each.text}", flush=True)
        found.append(each.verdict)
    return status(found)


def status(verdicts: Sequence[str]) -> int:
    """The exit status: a finding counts more than what is not known."""
    return next(_STATUSES[it] for it in (_FAIL, _NOT_KNOWN, _OK) if it in verdicts)


def findings(tool: str, arguments: Sequence[str]) -> Iterator[Finding]:
    """One of each check, those without a network first."""
    locks = [LOCK, *sorted(it for folder in ("docker", "setup") for it in (ROOT / folder).glob("*.lock"))]
    pins = {lock: read(lock) for lock in locks}
    names = {pin.name for lock in (LOCK, UV_LOCK) for pin in pins[lock]}
    yield _finding("locks", _lock_problems(pins), f"{len(names)} distributions, each with its version and hashes")
    installed: dict[str, str] = {canonicalize_name(it.name): it.version for it in distributions()}
    versions = [
        f"{pin.name} is {installed.get(pin.name, 'missing')}, the lock has {pin.version}"
        for pin in pins[LOCK]
        if pin.here and installed.get(pin.name) != pin.version
    ]
    extra = [f"{name} is installed, and not locked" for name in sorted({*installed} - names - NOT_LOCKED)]
    yield _finding("installed", [*versions, *extra], "what is locked, and nothing else")
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    yield _finding("needs", checked.stdout.splitlines() if checked.returncode else [], "pip check finds no conflict")
    sent = {canonicalize_name(it.name): licence(it) for it in shipped({*INSTALLATIONS.values()} - {""})}
    wrong = [f"{name}: {it or 'names none'}" for name, it in sent.items() if not is_allowed(name, it)]
    yield _finding("licences", wrong, f"those of the {len(sent)} that are shipped are allowed")
    yield _advisories(tool, locks, arguments)


def read(lock: Path) -> list[Pin]:
    """The pins of a lock file."""
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return [_pin(line) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _pin(line: str) -> Pin:
    before, *hashes = line.split(" --hash=sha256:")
    try:
        asked = Requirement(before.strip())
    except InvalidRequirement:
        return Pin(line.strip(), "", here=False)
    exact = [it.version for it in asked.specifier if it.operator == "==" and not it.version.endswith("*")]
    here = asked.marker is None or asked.marker.evaluate()
    return Pin(canonicalize_name(asked.name), exact[0] if exact and hashes else "", here=here)


def _lock_problems(pins: Mapping[Path, Sequence[Pin]]) -> list[str]:
    every = [(lock.name, pin) for lock, each in pins.items() for pin in each]
    known = {(pin.name, pin.version) for lock in (LOCK, UV_LOCK) for pin in pins[lock]}
    return [f"{lock}: {pin.name} has no version or no hash" for lock, pin in every if not pin.version] + [
        f"{lock}: {pin.name} {pin.version} is not that of {LOCK.name}"
        for lock, pin in every
        if pin.version and (pin.name, pin.version) not in known
    ]


def _advisories(tool: str, locks: Sequence[Path], arguments: Sequence[str]) -> Finding:
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, symlinks=True)
        python = Path(folder) / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--quiet"]
        installed = _run([*pip, "install", "--retries", "1", "--timeout", "15", tool], _INSTALL_TIMEOUT)
        if not isinstance(installed, str) and installed.returncode:
            installed = _last(installed.stderr)
        if isinstance(installed, str):
            return Finding(_NOT_KNOWN, "advisories", f"none was read: {tool} could not be installed ({installed})")
        asked = [python.with_name("pip-audit"), "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
        files = [part for lock in locks for part in ("-r", lock)]
        answer = _run([*asked, "--disable-pip", "--require-hashes", *arguments, *files], _QUERY_TIMEOUT)
    if isinstance(answer, str):
        return Finding(_NOT_KNOWN, "advisories", f"none was read: {answer}")
    try:
        return judged(json.loads(answer.stdout))
    except ValueError:
        return Finding(_NOT_KNOWN, "advisories", f"none was read: {_last(answer.stderr)}")


def judged(answer: Mapping[str, Any]) -> Finding:
    """What pip-audit's document says."""
    asked = {it["name"]: it for it in answer["dependencies"]}
    vulnerable = [
        f"{name} {it['version']}: {', '.join(each['id'] for each in it['vulns'])}"
        for name, it in asked.items()
        if it.get("vulns")
    ]
    skipped = [name for name, it in asked.items() if "skip_reason" in it]
    known = f"{len(asked) - len(skipped)} of {len(asked)} distributions have none"
    if vulnerable or not skipped:
        return _finding("advisories", vulnerable, known)
    names = ", ".join(skipped[:_NAMED]) + (f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else "")
    return Finding(_NOT_KNOWN, "advisories", f"{known}; not known for {names} ({asked[skipped[0]]['skip_reason']})")


def _finding(check: str, problems: Sequence[str], fine: str) -> Finding:
    return Finding(_FAIL, check, "; ".join(problems)) if problems else Finding(_OK, check, fine)


def _run(command: Sequence[object], timeout: float) -> subprocess.CompletedProcess[str] | str:
    """The end of a command, or why it has none."""
    parts = [str(part) for part in command]
    try:
        return subprocess.run(parts, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"no end within {timeout:g} s"


def _last(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
