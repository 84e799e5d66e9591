"""Keeps the table of pages in docs/how-to/console.md equal to the navigation: `--write` makes it so.

Run by `make verify`. A row is a link's label, and what the docstring of the page's folder says behind it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from console_svc.app import PAGES
from lab.benchmarks.kept import made_by, table
from verification.generated.document import differences

DOCUMENT = Path(__file__).parents[2] / "docs" / "how-to" / "console.md"
_PART = made_by("python -m verification.generated.pages --write")


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 if the table is right (now), else 1 with what is wrong on the standard output."""
    rows = [(page.link.label, _purpose(page.__module__, page.link.label)) for page in PAGES if page.link]
    text = table(("page", "what one does there"), rows)
    findings = differences(DOCUMENT, _PART.replaced(DOCUMENT.read_text(), f"\n{text}\n"), arguments)
    print("\n".join(findings) or "docs/how-to/console.md lists the pages of the console")
    return 1 if findings else 0


def _purpose(module: str, label: str) -> str:
    docstring = f"{import_module(module.rpartition('.')[0]).__doc__}"
    return " ".join(docstring.split()).removeprefix(f"{label}: ").removesuffix(".")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
