"""The Python distributions that an installation of ours brings along, as they are installed here."""

from __future__ import annotations

from collections.abc import Collection
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OURS = "contentgen-grpc"
INSTALLATIONS = {
    "all": "all",
    "client": "",
    "cli": "cli",
    "console": "console",
    "embedded": "embedded",
    "old-application": "old-application",
    "otel": "otel",
    "scheduler": "scheduler",
    "worker": "worker",
}
"""What may be installed, and the extra that it is: the client is the package without any."""


def shipped(extras: Collection[str]) -> list[Distribution]:
    """Ours with these extras and all that it needs on this machine, by name."""
    extras_by_name: dict[str, set[str]] = {}
    pending = [(OURS, set(extras))]
    while pending:
        name, requested = pending.pop()
        if name in extras_by_name and requested <= extras_by_name[name]:
            continue
        known_extras = extras_by_name.setdefault(name, set())
        known_extras |= requested
        for text in distribution(name).requires or []:
            needed = Requirement(text)
            if _applies(needed, known_extras):
                pending.append((canonicalize_name(needed.name), set(needed.extras)))
    return [distribution(name) for name in sorted(extras_by_name)]


def _applies(needed: Requirement, extras: Collection[str]) -> bool:
    return needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras))
