"""Checks that no Chinese page is older than the English one that it was written from. Run by `make verify`.

Tests run the snippets of English pages; those of the Chinese ones have to be the same, but for comments.

The first line of a Chinese page has its English one as git names it: `git diff` shows what has changed since. `--write
PAGE…` says that these Chinese pages are up to date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path

ROOT = Path(__file__).parents[2]
_CHINESE = ROOT / "docs" / "zh_CN"
_WRITTEN_FROM = re.compile(r"\A<!-- written from (\S+) -->\n")
_FENCED = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r" *(?:#|--|;) .*")


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 0 if all are up to date (now), else 1 with those that are not."""
    for page in map(Path, arguments[1:]):
        text = _WRITTEN_FROM.sub("", page.read_text(encoding="utf-8"))
        page.write_text(f"<!-- written from {blob(english(page.resolve()))} -->\n{text}", encoding="utf-8")
    pages = [*ROOT.glob("README.zh-CN.md"), *sorted(_CHINESE.rglob("*.md"))]
    findings = [fault for page in pages if (fault := fault_of(page))]
    print("\n".join(findings) or f"none of the {len(pages)} Chinese pages is older than its English one")
    return 1 if findings else 0


def fault_of(page: Path) -> str:
    """Returns what is wrong with a Chinese page; empty if nothing is."""
    name, source = page.relative_to(ROOT), english(page)
    match = _WRITTEN_FROM.match(page.read_text(encoding="utf-8"))
    if not source.exists() or not match:
        return f"{name} does not say from which text of {source.relative_to(ROOT)} it was written"
    if match[1] != blob(source):
        return f"{name} is out of date: see `git diff {match[1]} {source.relative_to(ROOT)}`"
    same = "reference" in name.parts or snippets(page) == snippets(source)
    return "" if same else f"{name} has other snippets than {source.relative_to(ROOT)}"


def snippets(page: Path) -> list[str]:
    """Returns a page's commands and code, without comments: what a reader types in, and sees in the console."""
    texts = _FENCED.findall(page.read_text(encoding="utf-8"))
    return [_COMMENT.sub("", text) for language, text in texts if language not in {"text", "mermaid", "{toctree}"}]


def english(page: Path) -> Path:
    """Returns the English page of a Chinese one, which may be missing."""
    return ROOT / "docs" / page.relative_to(_CHINESE) if page.is_relative_to(_CHINESE) else ROOT / "README.md"


def blob(path: Path) -> str:
    """Returns the name that git has for a file's text, shortened."""
    text = path.read_bytes()
    return sha1(b"blob %d\0%b" % (len(text), text), usedforsecurity=False).hexdigest()[:12]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
