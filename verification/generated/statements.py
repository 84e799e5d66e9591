"""Keeps `docs/development/statements.md` equal to the scheduler's statements: `--write` makes it so.

Run by `make verify`. A statement is a module's constant made by `sa.text` or `Insert`, or a function that returns one.
The string below the constant, or the first line of the function's docstring, says what it is for: one without is an
error. Settings of sessions, BEGIN and COMMIT, and the migrations are not listed.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scheduler_svc.database.batch import Insert
from scheduler_svc.schema.privileges import relations
from verification.generated.document import differences

ROOT = Path(__file__).parents[2]
SCHEDULER = ROOT / "scheduler_svc"
IMPORTER = ROOT / "old_application"
DOCUMENT = ROOT / "docs" / "development" / "statements.md"

_LEFT_OUT = ("scheduler_svc/schema/migrations/", "old_application/old_")
_MADE_BY = ("sa.text", "Insert")
_TABLE = re.compile(rf"(?:\b(?:FROM|JOIN|INTO|UPDATE|USING|TABLE|COPY)|[,)])\s+({'|'.join(relations().columns)})\b")
_HEAD = """\
# Statements

<!-- made by `python -m verification.generated.statements --write` from scheduler_svc and old_application -->

Every SQL statement of the scheduler and the importer, by file: its purpose, the tables that it names, and who runs it.
"""


@dataclass(frozen=True, slots=True)
class Statement:
    """One constant, or one function that builds statements (`name` ends with `()`)."""

    name: str
    purpose: str
    tables: tuple[str, ...]
    run_by: tuple[str, ...]


def main(arguments: list[str]) -> int:
    """Returns the exit status: 0 if the document is right (now), else 1 with what is wrong on the standard output."""
    statements = {module: list(read(module)) for module in modules().values()}
    findings = differences(DOCUMENT, document(statements), arguments)
    findings += [
        f"{module.name}: {statement.name} does not say what it is for"
        for module, group in statements.items()
        for statement in group
        if not statement.purpose
    ]
    print("\n".join(findings) or f"{DOCUMENT.name} lists the statements of the scheduler, each with what it is for")
    return 1 if findings else 0


class Module:
    """A file of the scheduler or the importer, parsed."""

    def __init__(self, path: Path) -> None:
        self.path = path.relative_to(ROOT).as_posix()
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.body = ast.parse(path.read_text()).body
        self.functions = {name: frozenset(_names(node)) for name, node in _functions(self.body)}
        """What each uses, by their names."""
        self._defined = {name: node for node in self.body for name in _defines(node)}
        imports = [node for node in self.body if isinstance(node, ast.ImportFrom)]
        self._imported = {alias.name: f"{node.module}" for node in imports for alias in node.names}

    def find(self, name: str) -> tuple[Module, ast.stmt] | None:
        """Returns where `name`, or `module.name`, is defined in the scheduler."""
        if name in self._defined:
            return self, self._defined[name]
        stem, _, attribute = name.rpartition(".")
        source = f"{self._imported[stem]}.{stem}" if stem in self._imported else self._imported.get(name)
        module = modules().get(source or "")
        return module.find(attribute) if module and module is not self else None


@cache
def modules() -> dict[str, Module]:
    """Those with statements to list, by their names: whatever imports SQLAlchemy."""
    paths = (*sorted(SCHEDULER.rglob("*.py")), *sorted(IMPORTER.rglob("*.py")))
    modules = (Module(path) for path in paths if "import sqlalchemy" in path.read_text())
    return {module.name: module for module in modules if not module.path.startswith(_LEFT_OUT)}


def read(module: Module) -> Iterator[Statement]:
    """Yields the statements of one module, in its order."""
    for node, following in zip(module.body, [*module.body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef) and node.returns and ast.unparse(node.returns) == "sa.TextClause":
            purpose = (ast.get_docstring(node) or "").partition("\n")[0]
            yield Statement(f"{node.name}()", purpose, _tables(_texts(module, node)), _run_by(module, node.name))
        elif isinstance(node, ast.Assign) and _makes_statement(node.value):
            for name in _defines(node):
                yield Statement(name, _text(following), _tables(_sql(module, name)), _run_by(module, name))


def document(statements: dict[Module, list[Statement]]) -> str:
    lines = [_HEAD]
    for module, group in statements.items():
        if group:
            lines += [f"## [`{module.path.removeprefix('scheduler_svc/')}`](../../{module.path})\n"]
            lines += ["| statement | for | tables | run by |", "|---|---|---|---|"]
            lines += map(_row, group)
            lines.append("")
    return "\n".join(lines)


def _row(statement: Statement) -> str:
    run_by = ", ".join(f"`{name}`" for name in statement.run_by)
    return f"| `{statement.name}` | {statement.purpose} | {', '.join(statement.tables)} | {run_by} |"


def _defines(node: ast.stmt) -> tuple[str, ...]:
    if isinstance(node, ast.FunctionDef):
        return (node.name,)
    targets = node.targets if isinstance(node, ast.Assign) else []
    return tuple(target.id for target in targets if isinstance(target, ast.Name))


def _makes_statement(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func) in _MADE_BY


def _text(node: ast.stmt | None) -> str:
    """Returns what a string that stands alone says."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value.value
    return ""


def _sql(module: Module, name: str) -> str:
    statement = getattr(importlib.import_module(module.name), name)
    return statement.copy if isinstance(statement, Insert) else str(statement)


def _texts(module: Module, function: ast.stmt) -> str:
    """Returns the strings of a function, and of what it uses of other modules."""
    visited: list[ast.stmt] = []
    pending = [(module, function)]
    while pending:
        home, node = pending.pop()
        if node not in visited:
            visited.append(node)
            pending += [definition for name in _names(node) if (definition := home.find(name))]
    return "\n".join(f", {text}" for node in visited for text in _strings(node))


def _strings(node: ast.AST) -> Iterator[str]:
    """Those of the code; docstrings are none of it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        elif not _text(child if isinstance(child, ast.stmt) else None):
            yield from _strings(child)


def _tables(sql: str) -> tuple[str, ...]:
    return tuple(sorted(set(_TABLE.findall(sql))))


def _run_by(module: Module, name: str) -> tuple[str, ...]:
    """Returns the functions and methods that use it, in its module or in another one that imports it."""
    defined = module.find(name)
    return tuple(
        function
        for referrer in modules().values()
        for function, names in referrer.functions.items()
        if any(reference.rpartition(".")[2] == name and referrer.find(reference) == defined for reference in names)
    )


def _functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}", node


def _names(node: ast.AST) -> set[str]:
    """The names that it uses, with a dot those of modules too."""
    return {ast.unparse(part) for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
