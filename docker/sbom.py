"""Prints the bill of materials of the image that it runs in, as CycloneDX 1.6: packages of Debian, PyPI and npm.

Usage: sbom.py NAME VERSION [--root DIR]. The Dockerfile calls it, with the Python of its stage `sbom`. It lists what is
installed, not what a lock file asks for. The same packages give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

_SITES = "opt/app/lib/python3*/site-packages"
_NODE = "opt/creator/node_modules/.package-lock.json"
"""What npm writes of the packages that it has installed."""
_licenses = LicenseFactory()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the image")
    parser.add_argument("version", help="of the image")
    parser.add_argument("--root", type=Path, default=Path("/"), help="folder with the image's files")
    options = parser.parse_args()
    components = [*debian(options.root), *python(options.root), *node(options.root)]
    image = Component(type=ComponentType.CONTAINER, name=options.name, version=options.version, bom_ref=options.name)
    sys.stdout.write(bill(image, {image: components, **dict.fromkeys(components, ())}) + "\n")


def bill(whole: Component, needs: Mapping[Component, Sequence[Component]]) -> str:
    """The document, without the time, and with a serial number of its content.

    Args:
        whole: what it is about.
        needs: that, and all that it brings along, each with what it needs.
    """
    listed = sorted({*needs} - {whole}, key=lambda component: str(component.purl))
    content = "\n".join([whole.name, whole.version or "", *(str(component.purl) for component in listed)])
    bom = Bom(components=listed, serial_number=uuid.uuid5(uuid.NAMESPACE_URL, content))
    bom.metadata.component = whole
    for component, needed in needs.items():
        bom.register_dependency(component, needed)
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    del document["metadata"]["timestamp"]
    return json.dumps(document, indent=1, ensure_ascii=False)


def debian(root: Path) -> Iterator[Component]:
    format_ = "${db:Status-Status}\\t${Package}\\t${Version}\\t${Architecture}\\n"
    command = ["dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", "--show", "-f", format_]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        status, name, version, architecture = line.split("\t")
        if status == "installed":
            purl = PackageURL("deb", "debian", name, version, {"arch": architecture})
            yield component(purl, name, version)


def python(root: Path) -> Iterator[Component]:
    """What pip has installed for the service."""
    for distribution in distributions(path=[str(site) for site in root.glob(_SITES)]):
        name = distribution.metadata["Name"]
        purl = PackageURL("pypi", None, name.lower().replace("_", "-"), distribution.version)
        yield component(purl, name, distribution.version, _license(distribution))


def _license(distribution: Distribution) -> str | None:
    metadata = distribution.metadata.json
    license_ = str(metadata.get("license_expression") or metadata.get("license") or "")
    if license_ and "\n" not in license_:
        return license_
    named = [name for name in metadata.get("classifier", ()) if name.startswith("License ::")]
    return named[0].rpartition(" :: ")[2] if named else None


def node(root: Path) -> Iterator[Component]:
    """What npm has installed as the creator CLI."""
    for installed in root.glob(_NODE):
        for path, package in json.loads(installed.read_text())["packages"].items():
            name = path.rpartition("node_modules/")[2]
            scope, _, short = name.rpartition("/")
            purl = PackageURL("npm", scope or None, short, package["version"])
            yield component(purl, name, package["version"], package.get("license"))


def component(purl: PackageURL, name: str, version: str, license_: str | None = None) -> Component:
    known = [_licenses.make_from_string(license_)] if license_ else []
    return Component(
        type=ComponentType.LIBRARY, name=name, version=version, purl=purl, bom_ref=str(purl), licenses=known
    )


if __name__ == "__main__":
    main()
