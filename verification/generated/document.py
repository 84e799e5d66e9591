"""How a generated document is compared with its file, or written."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path


def differences(document: Path, expected: str, arguments: Sequence[str]) -> list[str]:
    """Returns the lines of a diff; none if the file has this text, as it does after `--write`."""
    if "--write" in arguments:
        document.write_text(expected)
    present = document.read_text() if document.exists() else ""
    return [*difflib.unified_diff(present.splitlines(), expected.splitlines(), str(document), "code", lineterm="")]
