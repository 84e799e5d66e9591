"""Checks that retired words do not come back; docs/glossary.md has their replacements. Run by `make verify`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

RETIRED = {
    "audience": r"audiences?",
    "carrier": r"carriers?",
    "caution": r"caution|cautious(?:ly)?",
    "doors": r"(?:the )?doors",
    "constants": r"(?-i:_?(?:MOST|LEAST|LONGEST|AT_ONCE)(?:_[A-Z]+)*|[A-Z_]+_(?:AT_ONCE|EACH|WITHIN))",
    "errand": r"errands?",
    "give back": r"(?:give|gives|gave|given|giving) (?:\w+ )?back",
    "heed": r"heed(?:s|ed|ing)?",
    "horizon": r"horizons?",
    "keeper": r"keepers?",
    "lee": r"in the lee of",
    "room": r"rooms?",
    "run out": r"(?:run|runs|ran|running) out",
    "sequel": r"sequels?",
    "speaker": r"speakers?",
    "steer": r"steer(?:s|ed|ing)?",
    "straighten": r"straighten(?:s|ed|ing)?",
    "vigil": r"vigils?",
}
"""Each word with its forms, as a regular expression. `constants`: see "Code" in CONTRIBUTING.md."""

ALLOWED = {
    # A CLI's option.
    "audience": (
        "docs/creators.md",
        "tests/",
        "worker_svc/config.py",
        "worker_svc/creators/",
        "worker_svc/try_command.py",
    ),
}
"""Where a word has another sense: paths, or beginnings of paths."""

QUOTED = (
    "CHANGELOG.md",
    "docs/glossary.md",  # lists the retired words
    "docs/migration.md",  # quotes the old application's guide
    "docs/zh-CN/",  # the same
    "tests/unit/test_words.py",
    "verification/generated/words.py",
)
_PATTERNS = {word: re.compile(rf"(?<![a-z])(?:{forms})(?![a-z])", re.IGNORECASE) for word, forms in RETIRED.items()}
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
    retired = [_PATTERNS[word] for word in RETIRED if not path.startswith(ALLOWED.get(word, ()))]
    for number, line in enumerate(text.splitlines(), start=1):
        for match in filter(None, (pattern.search(line) for pattern in retired)):
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
