"""A scheduler that asks for tokens, a worker and a console for all tests of a process, and a real browser.

They start with the first test that needs them, and end before the first test of another folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from contentgen import Content, ContentGenerationClient
from contentgen.v1.system_service_pb2 import GetCallerResponse
from tests.harness import credentials as tokens
from tests.harness.cluster import Databases
from tests.harness.console import Console, Visitor
from tests.harness.creators import picture_writer
from tests.harness.process import found_program, program
from tests.harness.scripted_server import Answer, scripted
from tests.harness.stack import DEMO_CREATOR, Scheduler, Stack, Worker, running_stack

PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
"""How long the browser waits for what has to appear."""
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
OPERATOR, CLIENT, REVIEWER, VIEWER = "operator-token", "client-token", "reviewer-token", "viewer-token"
ANNA, BORIS = "anna-token", "boris-token"
"""Two more reviewers."""
NEWCOMER = "newcomer-token"
"""A reviewer whose account has nothing yet."""
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """What a module's tests are about. `account` is that of the client's token."""

    stack: Stack
    scheduler: Scheduler
    worker: Worker
    console: Console
    client: ContentGenerationClient
    account: int

    def visitor(self, token: str = OPERATOR) -> Visitor:
        """Returns a visitor who has signed in."""
        visitor = Visitor(self.console.url)
        assert visitor.sign_in(token).status == 200
        return visitor

    def submit(self, topic: str, **fields: Any) -> str:
        """Submits a task; returns its id."""
        return self.client.submit_task(self.account, topic, **fields)

    @contextmanager
    def running(self, topic: str, account_id: int | None = None, *, seconds: str = "60") -> Iterator[str]:
        """Submits a task that runs until the end of the block, unless it takes only `seconds`."""
        options = {"demo-seconds": seconds}
        task_id = self.client.submit_task(account_id or self.account, topic, creator_options=options)
        try:
            yield task_id
        finally:
            self.client.cancel_task(task_id, force=True)
            self.client.wait(task_id)

    def article(self, topic: str, *, auto_approve: bool = False, **fields: Any) -> Content:
        """Makes an article with pictures, which waits for its review unless it is approved by itself."""
        task_id = self.submit(topic, auto_approve=auto_approve, creator_options={"pictures": "yes"}, **fields)
        return self.content(self.client.wait(task_id, timeout=60)["content_id"])

    def content(self, content_id: int | None) -> Content:
        """Returns a content as it is now."""
        return present(self.client.get_content(present(content_id)))


def present(value: T | None) -> T:
    assert value is not None
    return value


def cookies_of(visitor: Visitor, **more: str) -> str:
    """Returns the header that a browser with these cookies sends."""
    session = {cookie.name: cookie.value for cookie in visitor.cookies}
    return "; ".join(f"{name}={value}" for name, value in {**session, **more}.items())


class Shared:
    """What all tests of this folder have in common, as far as it has been needed."""

    def __init__(self, databases: Databases, template: str) -> None:
        self._databases = databases
        self._template = template
        self._opened = ExitStack()

    @cached_property
    def place(self) -> Place:
        return self._opened.enter_context(opened_place(self._databases, self._template))

    @cached_property
    def browser(self) -> Browser:
        return self._opened.enter_context(_browser())

    def close(self) -> None:
        self._opened.close()
        for name in ("place", "browser"):
            vars(self).pop(name, None)


SHARED = pytest.StashKey[Shared]()


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config, databases: Databases, template: str) -> Iterator[Shared]:
    with closing(Shared(databases, template)) as shared:
        pytestconfig.stash[SHARED] = shared
        yield shared


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Ends what is shared with the last test of this folder: beside a browser's loop no other loop runs."""
    try:
        yield
    finally:
        if nextitem and nextitem.path.parent != item.path.parent and (shared := item.config.stash.get(SHARED, None)):
            shared.close()


@pytest.fixture(scope="module")
def place(request: pytest.FixtureRequest, shared: Shared) -> Place:
    """A place for tests that kill nothing of it, and mind no accounts, tasks and contents of others.

    For a module that says `usefixtures("fresh_place")` it is that one.
    """
    if "fresh_place" in request.fixturenames:
        return request.getfixturevalue("fresh_place")  # type: ignore[no-any-return]
    return shared.place


@pytest.fixture(scope="module")
def fresh_place(databases: Databases, template: str) -> Iterator[Place]:
    """A place for the tests of one module, of which nobody else may see anything, or which count all that there is."""
    with opened_place(databases, template) as place:
        yield place


@pytest.fixture
def own_place(databases: Databases, template: str) -> Iterator[Place]:
    """A place for one test, which may kill what it likes."""
    with opened_place(databases, template) as place:
        yield place


@pytest.fixture(scope="module")
def operator(place: Place) -> Visitor:
    """An operator, who signs in once: an address may only try so often."""
    return place.visitor()


@pytest.fixture(scope="module")
def anna(place: Place) -> Visitor:
    return place.visitor(ANNA)


@pytest.fixture
def content_id(place: Place) -> int:
    """That of an article which waits for its review."""
    return place.article("an article")["content_id"]


def _creator(folder: Path) -> Path:
    """Makes a CLI that writes an article with pictures at once if it is asked for some, else is the demo creator."""
    path = folder / "creator"
    pictures = f'case "$*" in *--pictures=*) exec {picture_writer(folder)} "$@" ;; esac'
    path.write_text(f'#!/bin/sh\n{pictures}\nexec {DEMO_CREATOR} "$@"\n')
    path.chmod(0o755)
    return path


@contextmanager
def opened_place(databases: Databases, template: str) -> Iterator[Place]:
    with databases.lent(template) as url, running_stack(url) as stack:
        file = tokens.write(
            stack.folder / "tokens",
            *(tokens.line(role, role) for role in ("operator", "reviewer", "viewer", "worker")),
            *(tokens.line(name, "reviewer") for name in ("anna", "boris")),
            tokens.line("client", "client", [1]),
            tokens.line("newcomer", "reviewer", [2]),
            tokens.line("console", "operator", delegates=True),
        )
        scheduler = stack.scheduler(
            CONTENTGEN_TOKENS_FILE=str(file),
            CONTENTGEN_MAX_PUBLISH_ATTEMPTS="1",
            CONTENTGEN_WEBHOOK_ALLOW="127.0.0.0/8",
        ).start()
        worker = stack.worker(
            "worker-1",
            scheduler,
            CONTENTGEN_TOKEN="worker-token",
            CREATOR_DEMO_SECONDS="0.5",
            CREATOR_CLI_PATH=str(_creator(stack.folder)),
        ).start()
        console = Console(stack.folder, scheduler.target, CONTENTGEN_CONSOLE_DESIGN="on").start()
        with ContentGenerationClient(scheduler.target, token=OPERATOR) as client:
            account = client.create_account("press")["account_id"]
            client.create_account("newcomer")
            try:
                yield Place(stack, scheduler, worker, console, client, account)
            finally:
                print(f"==> console <==\n{console.tail()}")
                if console.alive:
                    console.stop()


@contextmanager
def open_console(folder: Path, settings: Mapping[str, str] | None = None, **answers: Answer) -> Iterator[Console]:
    """A console whose schedulers ask for no token, take anybody for an operator, and answer only so."""
    caller = GetCallerResponse(role="operator", methods=["AccountService/CreateAccount"])
    with (
        scripted(GetCaller=lambda *_: caller, **answers) as target,
        Console(folder, target, **(settings or {})).start() as console,
    ):
        yield console


@pytest.fixture(scope="module")
def chromium(shared: Shared) -> Browser:
    """Debian's Chromium. Where it is not installed the test is skipped, and says so.

    The shell without a desktop is preferred: it needs half of the CPU for the same pages.
    """
    return shared.browser


@contextmanager
def _browser() -> Iterator[Browser]:
    executable = found_program("chromium-headless-shell") or program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_token(request: pytest.FixtureRequest) -> str:
    """That of whoever has signed in at `page`.

    For a module that says `usefixtures("anna")` it is Anna's.
    """
    return ANNA if "anna" in request.fixturenames else OPERATOR


@pytest.fixture
def page(chromium: Browser, place: Place, page_token: str) -> Iterator[Page]:
    """A page at the console, which shows nothing yet."""
    with page_at(place, chromium, page_token) as page:
        yield page


@contextmanager
def page_at(place: Place, chromium: Browser, token: str = OPERATOR, *, dark: bool = False) -> Iterator[Page]:
    """A page of a browser of its own, which has a session; an error in a script fails the test."""
    context = chromium.new_context(
        base_url=place.console.url, viewport=DESKTOP, locale="en-GB", color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    same_origin = {"Sec-Fetch-Site": "same-origin"}  # `test_sign_in.py` fills the form in
    answer = page.request.post("/login", form={"token": token}, headers=same_origin, max_redirects=0)
    assert answer.status == 303
    yield page
    context.close()
    assert not errors
