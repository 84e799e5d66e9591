"""The glossary and the tour name what exists, and links lead somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_GLOSSARY_ROW = re.compile(r"^\| (?P<term>[^|]+) \| [^|]+ \| (?:`(?P<name>\w+)` in )?\[[^]]+\]\((?P<path>[^)]+)\) \|$")
_FUNCTION = re.compile(r"`([\w./]+\.py):([\w.]+)`")


@cache
def definitions(path: Path) -> frozenset[str]:
    """The names that a file defines: for Python, functions and methods by their qualified names, too."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".proto":
        return frozenset(re.findall(r"^\s*(?:message|enum|service|rpc) (\w+)", text, re.MULTILINE))
    return frozenset(_defined(ast.parse(text).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                yield prefix + node.name
                if prefix:
                    yield node.name
                if isinstance(node, ast.ClassDef):
                    yield from _defined(node.body, f"{prefix}{node.name}.")
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def glossary() -> list[re.Match[str]]:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| term ")]
    matches = [match for row in rows if (match := _GLOSSARY_ROW.match(row))]
    assert len(matches) == len(rows) > 0, [row for row in rows if not _GLOSSARY_ROW.match(row)]
    return matches


def test_the_glossary_is_in_alphabetical_order() -> None:
    terms = [row["term"].casefold() for row in glossary()]
    assert terms == sorted(terms)


def test_the_glossary_names_files_that_define_its_terms() -> None:
    missing = [
        (row["term"], row["path"], row["name"])
        for row in glossary()
        if not (path := DOCS / row["path"]).is_file() or (row["name"] and row["name"] not in definitions(path))
    ]
    assert missing == []


def test_the_tour_names_functions_that_exist() -> None:
    named = _FUNCTION.findall((DOCS / "tour.md").read_text(encoding="utf-8"))
    assert len(named) > 0
    missing = [
        f"{path}:{name}" for path, name in named if not (ROOT / path).is_file() or name not in definitions(ROOT / path)
    ]
    assert missing == []


def test_relative_links_lead_somewhere() -> None:
    documents = [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]
    broken = [
        f"{path.relative_to(ROOT)}: {link}"
        for path in documents
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert broken == []
