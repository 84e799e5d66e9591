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

from verification.shipped.distributions import EXTRAS, OURS, is_allowed, licence, shipped

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
    verdict: str
    check: str
    text: str


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status. Arguments: what pip installs as pip-audit, and then those of pip-audit."""
    verdicts = []
    for finding in findings(arguments[0], arguments[1:]):
        print(f"{finding.verdict:<4}  {finding.check:<10}  {finding.text}", flush=True)
        verdicts.append(finding.verdict)
    return status(verdicts)


def status(verdicts: Sequence[str]) -> int:
    """Returns the exit status: a finding counts more than what is not known."""
    return next(_STATUSES[verdict] for verdict in (_FAIL, _NOT_KNOWN, _OK) if verdict in verdicts)


def findings(tool: str, arguments: Sequence[str]) -> Iterator[Finding]:
    """One of each check, those without a network first."""
    locks = [LOCK, *sorted(path for folder in ("docker", "setup") for path in (ROOT / folder).glob("*.lock"))]
    pins = {lock: read(lock) for lock in locks}
    names = {pin.name for lock in (LOCK, UV_LOCK) for pin in pins[lock]}
    yield _finding("locks", _lock_problems(pins), f"{len(names)} distributions, each with its version and hashes")
    installed: dict[str, str] = {canonicalize_name(package.name): package.version for package in distributions()}
    versions = [
        f"{pin.name} is {installed.get(pin.name, 'missing')}, the lock has {pin.version}"
        for pin in pins[LOCK]
        if pin.here and installed.get(pin.name) != pin.version
    ]
    extra = [f"{name} is installed, and not locked" for name in sorted({*installed} - names - NOT_LOCKED)]
    yield _finding("installed", [*versions, *extra], "what is locked, and nothing else")
    checked = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    yield _finding("needs", checked.stdout.splitlines() if checked.returncode else [], "pip check finds no conflict")
    licences = {canonicalize_name(package.name): licence(package) for package in shipped(EXTRAS)}
    problems = [
        f"{name}: {licence_name or 'names none'}"
        for name, licence_name in licences.items()
        if not is_allowed(name, licence_name)
    ]
    yield _finding("licences", problems, f"those of the {len(licences)} that are shipped are allowed")
    yield _advisories(tool, locks, arguments)


def read(lock: Path) -> list[Pin]:
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    return [_pin(line) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _pin(line: str) -> Pin:
    requirement_text, *hashes = line.split(" --hash=sha256:")
    try:
        requirement = Requirement(requirement_text.strip())
    except InvalidRequirement:
        return Pin(line.strip(), "", here=False)
    exact = [
        specifier.version
        for specifier in requirement.specifier
        if specifier.operator == "==" and not specifier.version.endswith("*")
    ]
    applies = requirement.marker is None or requirement.marker.evaluate()
    return Pin(canonicalize_name(requirement.name), exact[0] if exact and hashes else "", here=applies)


def _lock_problems(pins: Mapping[Path, Sequence[Pin]]) -> list[str]:
    every = [(lock.name, pin) for lock, lock_pins in pins.items() for pin in lock_pins]
    locked = {(pin.name, pin.version) for lock in (LOCK, UV_LOCK) for pin in pins[lock]}
    return [f"{lock}: {pin.name} has no version or no hash" for lock, pin in every if not pin.version] + [
        f"{lock}: {pin.name} {pin.version} is not that of {LOCK.name}"
        for lock, pin in every
        if pin.version and (pin.name, pin.version) not in locked
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
        command = [python.with_name("pip-audit"), "--format", "json", "--progress-spinner", "off", "--timeout", "15"]
        files = [part for lock in locks for part in ("-r", lock)]
        answer = _run([*command, "--disable-pip", "--require-hashes", *arguments, *files], _QUERY_TIMEOUT)
    if isinstance(answer, str):
        return Finding(_NOT_KNOWN, "advisories", f"none was read: {answer}")
    try:
        return judged(json.loads(answer.stdout))
    except ValueError:
        return Finding(_NOT_KNOWN, "advisories", f"none was read: {_last(answer.stderr)}")


def judged(answer: Mapping[str, Any]) -> Finding:
    """Returns what pip-audit's document says."""
    dependencies = {dependency["name"]: dependency for dependency in answer["dependencies"]}
    vulnerable = [
        f"{name} {dependency['version']}: {', '.join(vulnerability['id'] for vulnerability in dependency['vulns'])}"
        for name, dependency in dependencies.items()
        if dependency.get("vulns")
    ]
    skipped = [name for name, dependency in dependencies.items() if "skip_reason" in dependency]
    clean = f"{len(dependencies) - len(skipped)} of {len(dependencies)} distributions have none"
    if vulnerable or not skipped:
        return _finding("advisories", vulnerable, clean)
    names = ", ".join(skipped[:_NAMED]) + (f" and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else "")
    return Finding(
        _NOT_KNOWN, "advisories", f"{clean}; not known for {names} ({dependencies[skipped[0]]['skip_reason']})"
    )


def _finding(check: str, problems: Sequence[str], summary: str) -> Finding:
    return Finding(_FAIL, check, "; ".join(problems)) if problems else Finding(_OK, check, summary)


def _run(command: Sequence[object], timeout: float) -> subprocess.CompletedProcess[str] | str:
    parts = [str(part) for part in command]
    try:
        return subprocess.run(parts, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return f"no end within {timeout:g} s"


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
