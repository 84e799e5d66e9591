"""Fixtures that every test may use: a database of its own, and a check that nothing is left behind."""

from __future__ import annotations

import os

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"  # before gRPC is imported: processes are started beside it

import gc
import inspect
import shutil
import signal
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import settings

from scheduler_svc.postgres import EmbeddedPostgres
from tests.harness.cluster import Databases, throwaway_server
from tests.harness.costs import COSTS, LEVELS, Costs, runs_of, seconds_of
from tests.harness.credentials import make_certificates
from tests.harness.process import Process
from tests.harness.processes import lasting_threads, new_children, pending_tasks
from tests.harness.waiting import wait_until_gone, wait_until_gone_async
from tests.published import package

# A shell ignores it in what it runs in the background, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

Process.by_fork = True

pytest_plugins = ["tests.harness.fixtures"]

LEAK_GRACE_S = 30.0  # what was told to end may take a moment

settings.register_profile("contentgen", database=None, deadline=None, derandomize="CI" in os.environ)
settings.load_profile("contentgen")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="golden files become what the tests see")
    parser.addoption("--costs", action="store_true", help=f"the CPU of each test into {COSTS}, summed up at the end")
    parser.addoption(
        "--outage", type=float, help="seconds that the database's failover takes, with a lease time for it"
    )


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # to collect the tests makes no garbage
    for level, meaning in LEVELS.items():
        config.addinivalue_line("markers", f"{level}: {meaning}")
    if config.getoption("--costs"):
        config.pluginmanager.register(Costs(config.rootpath / COSTS, anew=not hasattr(config, "workerinput")))


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    marks_of = {item: {mark.name for mark in item.iter_markers()} for item in items}
    for path in {item.path for item, marks in marks_of.items() if len(LEVELS.keys() & marks) != 1}:
        raise pytest.UsageError(f"{path}: each test has one level of {', '.join(LEVELS)}, by `pytestmark` or a mark")
    shared = getattr(config, "workerinput", None)  # by several processes
    if shared:
        items.sort(key=seconds_of, reverse=True)  # then pytest keeps together what shares a parameter of a fixture
    yield
    if shared:
        items[:] = runs_of(items, shared["workercount"])


def pytest_collection_finish() -> None:
    gc.freeze()  # the tests stay: there is no garbage among them to look for
    gc.enable()


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedPostgres]:
    """One throw-away server a pytest process, and so one an xdist worker."""
    with throwaway_server() as server:
        yield server


@pytest.fixture(scope="session")
def databases(cluster: EmbeddedPostgres) -> Iterator[Databases]:
    with closing(Databases(cluster)) as databases:
        yield databases


@pytest.fixture(scope="session")
def template(cluster: EmbeddedPostgres, databases: Databases) -> str:
    """The name of a migrated database that is cloned for each test."""
    from scheduler_svc.schema.migrate import upgrade

    name = databases.create()
    engine = sa.create_engine(cluster.url(name), poolclass=sa.NullPool)
    upgrade(engine)
    engine.dispose()
    return name


@pytest.fixture
def by_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services are started by their commands: their start, or what the kernel tells of it, is the subject."""
    monkeypatch.setattr(Process, "by_fork", False)


@pytest.fixture
def patient_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may start the process that measures pictures late: it is given more time than a service does."""
    from scheduler_svc.assets import media_types

    monkeypatch.setattr(media_types, "LOOK_TIMEOUT", 60.0)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what `make_certificates` makes, as `NAME.pem` and `NAME.key`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificates, and it is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture
def empty_db_url(databases: Databases) -> Iterator[str]:
    """The URL of a database without a schema, this test's own."""
    with databases.lent() as url:
        yield url


@pytest.fixture
def engine(db_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(db_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def published_cli() -> Path:
    """The CLI of the npm package llm-content-creator; the first time on a machine npm installs it."""
    return package.installed()


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a child process, a thread or a task of the event loop."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_tasks_left_behind")
    children, threads = new_children(), lasting_threads()
    yield
    wait_until_gone(children, within=LEAK_GRACE_S, what="the test's processes are gone")
    wait_until_gone(lambda: lasting_threads() - threads, within=LEAK_GRACE_S, what="the test's threads are gone")


@pytest.fixture
async def no_tasks_left_behind() -> AsyncIterator[None]:
    tasks = pending_tasks()
    yield
    await wait_until_gone_async(lambda: pending_tasks() - tasks, within=LEAK_GRACE_S, what="the test's tasks are done")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how far the model checker walked."""
    reports = terminalreporter.getreports("passed")
    walked = [text for report in reports for name, text in report.user_properties if name == "walked"]
    if walked:
        terminalreporter.write_sep("=", "states of the lease protocol's model")
        for text in walked:
            terminalreporter.write_line(str(text))
