"""What the package's metadata say of the repository, which is wherever SOURCE says, as for the images.

hatchling calls it. The page of the package is the README, whose links into the repository lead to that address; without
one they are plain text, and the package has no URLs.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_INTO_THE_REPOSITORY = re.compile(r"(!?)\[([^]]*)\]\((?!https?:|mailto:)([^)]+)\)")


class PackageMetadata(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        """Sets what an sdist has not brought along."""
        source = os.environ.get("SOURCE", "").rstrip("/")
        if "readme" not in metadata:
            readme = Path(self.root, "README.md").read_text(encoding="utf-8")
            metadata["readme"] = {"content-type": "text/markdown", "text": page(readme, source)}
        if source:
            metadata.setdefault("urls", urls(source))


def urls(source: str) -> dict[str, str]:
    return {
        "Repository": source,
        "Documentation": f"{source}/blob/HEAD/README.md",
        "Changelog": f"{source}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{source}/issues",
    }


def page(readme: str, source: str) -> str:
    """Returns the README with links that work on any page."""

    def absolute(link: re.Match[str]) -> str:
        picture, text, path = link.groups()
        if not source:
            return "" if picture else text
        if path.startswith("#"):
            path = f"README.md{path}"
        return f"{picture}[{text}]({source}/{'raw' if picture else 'blob'}/HEAD/{path})"

    return _INTO_THE_REPOSITORY.sub(absolute, readme)
