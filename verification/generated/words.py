"""Checks that retired words do not come back: each named a concept for which the glossary has another word now.

Run by `make verify`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

RETIRED = {
    "carrier": r"carriers?",  # lease executor
    "caution": r"caution|cautious(?:ly)?",
    "doors": r"(?:the )?doors",  # interceptors
    "constants": r"(?-i:_?(?:MOST|LEAST|LONGEST|AT_ONCE)(?:_[A-Z]+)*|[A-Z_]+_(?:AT_ONCE|EACH|WITHIN))",
    "errand": r"errands?",  # after-commit work
    "give back": r"(?:give|gives|gave|given|giving) (?:\w+ )?back",  # release
    "heed": r"heed(?:s|ed|ing)?",  # accept, follow
    "horizon": r"horizons?",  # watermark
    "keeper": r"keepers?",  # durable journal
    "lee": r"in the lee of",  # during or just after
    "room": r"rooms?",  # session capacity, free slots
    "run out": r"(?:run|runs|ran|running) out",  # expire
    "sequel": r"sequels?",  # resolution
    "speaker": r"speakers?",  # outbound policy
    "steer": r"steer(?:s|ed|ing)?",  # cancel, retry
    "straighten": r"straighten(?:s|ed|ing)?",  # respace
    "vigil": r"vigils?",  # watchdog
}
"""Each word with its forms, as a regular expression, and the word to use. `constants`: see "Code" in CONTRIBUTING.md.

Too common for a pattern: stated, heard (heartbeat), wanted (desired state), turn of a claim (inline claim), link and
conversation (scheduler connection, lease stream), the family of processes (process tree), bent (tag gap), and audience
(watch interest), which texts have: a CLI's option has that name, and a field of a task may have it.
"""

QUOTED = (
    "CHANGELOG.md",
    "docs/reference/old-application.md",  # quotes the old application's guide
    "docs/zh_CN/reference/old-application.md",  # the same
    "tests/lab/test_order.py",
    "verification/generated/words.py",
)
_PATTERNS = [re.compile(rf"(?<![a-z])(?:{forms})(?![a-z])", re.IGNORECASE) for forms in RETIRED.values()]
_SUFFIXES = {".js", ".mako", ".md", ".proto", ".py", ".toml", ".yaml", ""}


def main() -> int:
    """Returns the exit status: 0 if no retired word is used, else 1, with each use on the standard output."""
    findings = list(uses())
    print("\n".join(findings) or "no retired word is used")
    return 1 if findings else 0


def uses() -> Iterator[str]:
    """Yields each use in the repository as `path:line: word`."""
    for path in _texts():
        yield from uses_in(path, (ROOT / path).read_text(encoding="utf-8"))


def uses_in(path: str, text: str) -> Iterator[str]:
    """Yields each use in one text. An underscore ends a word, too."""
    for number, line in enumerate(text.splitlines(), start=1):
        for match in filter(None, (pattern.search(line) for pattern in _PATTERNS)):
            yield f"{path}:{number}: {match[0]}"


def _texts() -> list[str]:
    """Returns the tracked texts that people wrote."""
    paths = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [
        path
        for path in paths.splitlines()
        if Path(path).suffix in _SUFFIXES
        and "_pb2" not in path
        and not path.startswith(QUOTED)
        and (ROOT / path).is_file()
    ]


if __name__ == "__main__":
    sys.exit(main())
