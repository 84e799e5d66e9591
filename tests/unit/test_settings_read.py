"""Each setting is read by what it is for: code that has the settings, beside their own class and `config check`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from console_svc.config import ConsoleSettings
from scheduler_svc.config import Settings
from scheduler_svc.domain.bounds import SubmitBounds
from scheduler_svc.domain.lease import LeaseTerms
from worker_svc.config import WorkerSettings

ROOT = Path(__file__).parents[2]


class Bogus:
    """Settings of which one is that of no service."""

    log_level: str
    never_read: bool


def unread(kind: type, folder: str, *owners: str) -> set[str]:
    """The fields that no module of a folder reads of a variable or attribute with one of these names."""
    names = {name for path in modules(kind, folder) for name, owner in reads(path.read_text()) if owner in owners}
    methods = {name: {read for read, owner in reads(text) if owner == "self"} for name, text in methods_of(kind)}
    while missing := set[str]().union(*(methods[name] for name in names & methods.keys())) - names:
        names |= missing  # what a property reads that is read itself
    return set(inspect.get_annotations(kind)) - {"SECRETS", "UNSHOWN"} - names


def modules(kind: type, folder: str) -> Iterator[Path]:
    own = inspect.getsourcefile(kind)
    return (path for path in (ROOT / folder).rglob("*.py") if str(path) != own and path.name != "config_command.py")


def methods_of(kind: type) -> Iterator[tuple[str, str]]:
    source = inspect.getsource(kind)
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    for part in definition.body:
        if isinstance(part, ast.FunctionDef):
            yield part.name, ast.unparse(part)


def reads(source: str) -> Iterator[tuple[str, str]]:
    """Each attribute that is read, with the name of its owner: the last one, of a path."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(attr=name, value=ast.Name(id=owner) | ast.Attribute(attr=owner), ctx=ast.Load()):
                yield name, owner


def test_the_scheduler_reads_its_settings() -> None:
    deciding = {"database_url_file", "insecure", "require_database_url"}  # what other settings may be
    assert unread(Settings, "scheduler_svc", "settings", "_settings") == deciding


def test_the_scheduler_reads_what_it_takes_of_its_settings() -> None:
    assert unread(SubmitBounds, "scheduler_svc", "bounds", "_bounds") == set()
    assert unread(LeaseTerms, "scheduler_svc", "terms", "_terms") == set()


def test_the_worker_reads_its_settings() -> None:
    assert unread(WorkerSettings, "worker_svc", "settings", "_settings") == {"insecure"}


def test_the_console_reads_its_settings() -> None:
    assert unread(ConsoleSettings, "console_svc", "settings", "_settings") == {"insecure"}


@pytest.mark.parametrize("folder", ["scheduler_svc", "worker_svc", "console_svc"])
def test_a_setting_that_nothing_reads_is_named(folder: str) -> None:
    assert unread(Bogus, folder, "settings", "_settings") == {"never_read"}
