"""A scheduler that asks for tokens, a worker and a console for all tests of a module, and a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect, sync_playwright

from contentgen import ContentGenerationClient
from tests.harness import tokens
from tests.harness.cluster import Databases
from tests.harness.console import Console, Visitor
from tests.harness.programs import program
from tests.harness.stack import Scheduler, Stack, Worker, running_stack

PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)
"""How long the browser waits for what has to appear."""
DESKTOP = ViewportSize(width=1280, height=800)
PHONE = ViewportSize(width=390, height=844)
OPERATOR, CLIENT, REVIEWER, VIEWER = "operator-token", "client-token", "reviewer-token", "viewer-token"
ANNA, BORIS = "anna-token", "boris-token"
"""Two more reviewers."""


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
        """Somebody who has signed in."""
        visitor = Visitor(self.console.url)
        assert visitor.sign_in(token).status == 200
        return visitor


@pytest.fixture(scope="module")
def place(databases: Databases, template: str) -> Iterator[Place]:
    """For tests that kill nothing of it."""
    with _opened(databases, template) as place:
        yield place


@pytest.fixture
def own_place(databases: Databases, template: str) -> Iterator[Place]:
    """For one test, which may kill what it likes."""
    with _opened(databases, template) as place:
        yield place


@contextmanager
def _opened(databases: Databases, template: str) -> Iterator[Place]:
    with databases.lent(template) as url, running_stack(url) as stack:
        file = tokens.write(
            stack.folder / "tokens",
            tokens.line("operator", "operator"),
            tokens.line("client", "client", [1]),
            tokens.line("reviewer", "reviewer"),
            tokens.line("anna", "reviewer"),
            tokens.line("boris", "reviewer"),
            tokens.line("viewer", "viewer"),
            tokens.line("worker", "worker"),
        )
        scheduler = stack.scheduler(
            CONTENTGEN_TOKENS_FILE=str(file),
            CONTENTGEN_MAX_PUBLISH_ATTEMPTS="1",
            CONTENTGEN_WEBHOOK_ALLOW="127.0.0.0/8",
        ).start()
        worker = stack.worker(
            "worker-1", scheduler, CONTENTGEN_TOKEN="worker-token", CREATOR_DEMO_SECONDS="0.5"
        ).start()
        console = Console(stack.folder, scheduler.target).start()
        with ContentGenerationClient(scheduler.target, token=OPERATOR) as client:
            account = client.create_account("press")["account_id"]
            try:
                yield Place(stack, scheduler, worker, console, client, account)
            finally:
                print(f"==> console <==\n{console.tail()}")
                if console.alive:
                    console.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Where it is not installed the test is skipped, and says so."""
    executable = program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, place: Place) -> Iterator[Page]:
    """A page at the console, where nobody has signed in."""
    with page_at(place, chromium) as page:
        yield page


@contextmanager
def page_at(place: Place, chromium: Browser, *, size: ViewportSize = DESKTOP, dark: bool = False) -> Iterator[Page]:
    """A page of a browser of its own; an error in a script fails the test."""
    context = chromium.new_context(
        base_url=place.console.url, viewport=size, locale="en-GB", color_scheme="dark" if dark else "light"
    )
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert not errors


def sign_in(page: Page, token: str = OPERATOR) -> None:
    page.goto("/login")
    page.get_by_label("Your token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/")
