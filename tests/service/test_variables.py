"""Who reads each setting of a service, and variables that look like ours."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from console_svc.config import ConsoleSettings
from contentgen.variables import PREFIX, notices
from scheduler_svc.config import Settings
from worker_svc.config import WorkerSettings

pytestmark = pytest.mark.unit


# Each setting is read by what it is for: code that has the settings, beside their own class and `config check`.


ROOT = Path(__file__).parents[2]


class Bogus:
    """Settings of which one is that of no service."""

    log_level: str
    never_read: bool


def unread(kind: type, folder: str, *owners: str) -> set[str]:
    """The fields that no module of a folder reads of a variable or attribute with one of these names."""
    names = {name for text in sources(kind, folder) for name, owner in reads(text) if owner in owners}
    methods = {name: {read for read, owner in reads(text) if owner == "self"} for name, text in methods_of(kind)}
    while missing := set[str]().union(*(methods[name] for name in names & methods.keys())) - names:
        names |= missing  # what a property reads that is read itself
    return set(inspect.get_annotations(kind)) - {"SECRETS", "UNSHOWN"} - names


def sources(kind: type, folder: str) -> Iterator[str]:
    own = inspect.getsource(kind)
    modules = (path for path in (ROOT / folder).rglob("*.py") if path.name != "config_command.py")
    return (path.read_text().replace(own, "") for path in modules)


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


def test_the_worker_reads_its_settings() -> None:
    assert unread(WorkerSettings, "worker_svc", "settings", "_settings") == {"insecure"}


def test_the_console_reads_its_settings() -> None:
    assert unread(ConsoleSettings, "console_svc", "settings", "_settings") == {"insecure"}


@pytest.mark.parametrize("folder", ["scheduler_svc", "worker_svc", "console_svc"])
def test_a_setting_that_nothing_reads_is_named(folder: str) -> None:
    assert unread(Bogus, folder, "settings", "_settings") == {"never_read"}


# Variables that look like settings of ours: what services and command say of them.


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("CONTENTGEN_LOG_LEVL", "did you mean CONTENTGEN_LOG_LEVEL?"),
        ("CONTENTGEN_TOKENFILE", "did you mean CONTENTGEN_TOKEN"),
        ("CONTENTGEN_CONSOLE_LISTN", "did you mean CONTENTGEN_CONSOLE_LISTEN?"),
        ("CONTENTGEN_DATABASE_URL", "did you mean DATABASE_URL?"),
        ("CONTENTGEN_COLOUR", "and is ignored"),
    ],
)
def test_an_unknown_variable_is_named_without_its_value(variable: str, text: str) -> None:
    (notice,) = notices({variable: "zebra", "PATH": "/bin", "CREATOR_COLOUR": "red", f"{PREFIX}SLOTS": "3"})
    assert notice.startswith(f"{variable} is no setting, and is ignored")
    assert text in notice
    assert "zebra" not in notice


def test_variables_set_by_kubernetes_are_not_reported() -> None:
    host, url = "10.0.0.1", "tcp://10.0.0.1:50051"
    set_by_it = {
        "SERVICE_HOST": host,
        "SERVICE_PORT": "50051",
        "SERVICE_PORT_GRPC": "50051",
        "PORT": url,
        "PORT_50051_TCP": url,
        "PORT_50051_TCP_PROTO": "tcp",
        "PORT_50051_TCP_PORT": "50051",
        "PORT_50051_TCP_ADDR": host,
    }
    assert list(notices({f"CONTENTGEN_SCHEDULER_{name}": value for name, value in set_by_it.items()})) == []
    assert len(list(notices({"CONTENTGEN_PORT": "50051"}))) == 1
