"""Who gets in, how it ends, and what a browser is told to keep."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from playwright.sync_api import Browser, expect

from console_svc.web.security import MAX_TRIES, SignInTries
from contentgen import ContentGenerationClient, Unauthenticated
from scheduler_svc.config.tokens import hash_of
from tests.console.conftest import CLIENT, OPERATOR, VIEWER, Place, Shared, cookies_of, page_at, present
from tests.harness import credentials as tokens
from tests.harness.console import Console, Visitor
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def place(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place with a console of its own: tries that fail count for all who come from here."""
    place = shared.place
    console = Console(tmp_path_factory.mktemp("console"), place.scheduler.target).start()
    yield replace(place, console=console)
    console.stop()


def test_whoever_has_no_session_is_led_to_the_form_and_from_there_to_the_page(place: Place) -> None:
    visitor = Visitor(place.console.url)
    form = visitor.get("/")
    assert (form.status, form.url) == (200, f"{place.console.url}/login")
    assert form.text.count('type="password"') == form.text.count("<form") == 1
    login_page = visitor.get("/tasks?status=failed")
    assert login_page.url == f"{place.console.url}/login?next=%2Ftasks%3Fstatus%3Dfailed"
    answer = visitor.post("/login?next=%2Ftasks%3Fstatus%3Dfailed", {"token": OPERATOR})
    assert (answer.status, answer.url) == (200, f"{place.console.url}/tasks?status=failed")


@pytest.mark.parametrize(
    "elsewhere", ["https://example.org/", "//example.org/", "/\\example.org/", "javascript:alert(1)"]
)
def test_the_form_leads_to_no_other_site(place: Place, elsewhere: str) -> None:
    answer = Visitor(place.console.url).post(f"/login?next={elsewhere}", {"token": OPERATOR})
    assert answer.url == f"{place.console.url}/"


@pytest.mark.parametrize("token", ["", "wrong", "two words", "x" * 5_000, "令牌", "line\nbreak", "\0"])
def test_a_token_that_nobody_has_is_refused(place: Place, token: str) -> None:
    Visitor(place.console.url).sign_in(token).says("The schedulers do not know this token.", status=403)


def test_the_cookie_is_for_this_site_alone_and_out_of_reach_for_scripts(place: Place) -> None:
    visitor = place.visitor()
    (cookie,) = visitor.cookies
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite", "").lower() == "strict"
    assert OPERATOR not in str(cookie.value)
    assert OPERATOR not in visitor.get("/").text


def test_a_session_of_before_is_worth_nothing_after_a_sign_in(place: Place) -> None:
    visitor = place.visitor()
    (old_cookie,) = visitor.cookies
    visitor.sign_in(CLIENT)
    (cookie,) = visitor.cookies
    assert cookie.value != old_cookie.value


def test_whoever_signs_out_has_no_session_any_more(place: Place) -> None:
    visitor, other_visitor = place.visitor(VIEWER), place.visitor(VIEWER)
    answer = visitor.post("/logout", {})
    assert (answer.url, "You have signed out." in answer.text) == (f"{place.console.url}/login", True)
    assert visitor.get("/tasks").url.startswith(f"{place.console.url}/login")
    assert other_visitor.get("/tasks").url == f"{place.console.url}/tasks"


def test_signing_out_everywhere_leads_all_of_the_token_to_the_form_and_back(place: Place) -> None:
    visitor, other_visitor, stranger = place.visitor(VIEWER), place.visitor(VIEWER), place.visitor(CLIENT)
    other_visitor.post("/logout", {"everywhere": "yes"})
    own_page = f"{place.console.url}/tasks?status=failed"
    for answer, page in (
        (visitor.get("/tasks"), "?next=%2Ftasks"),
        (visitor.post("/tasks/task-1/cancel", {}, Referer=own_page), "?next=%2Ftasks%3Fstatus%3Dfailed"),
        (visitor.post("/tasks/task-1/cancel", {}, Referer="https://example.org/tasks"), ""),
    ):
        assert answer.url == f"{place.console.url}/login{page}"
        answer.says("All sessions of your token were signed out.")
    assert stranger.get("/tasks").url == f"{place.console.url}/tasks"


def test_open_pages_lead_to_the_form_and_back_once_their_session_has_ended(place: Place, chromium: Browser) -> None:
    task_id = place.submit("to cancel", schedule_time="2030-01-01T00:00Z")
    with page_at(place, chromium, CLIENT) as page:
        page.goto(f"/tasks/{task_id}")
        with page_at(place, chromium, CLIENT) as other_page:
            other_page.goto("/")
            other_page.get_by_role("button", name="Sign out everywhere").click()
            expect(other_page.get_by_role("status").get_by_text("All sessions of your token")).to_be_visible()
        page.wait_for_url(f"/login?next=%2Ftasks%2F{task_id}")
        expect(page.get_by_text("All sessions of your token were signed out.")).to_be_visible()
        page.get_by_label("Your token").fill(CLIENT)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"/tasks/{task_id}")


def test_a_revoked_token_ends_its_live_pages(place: Place) -> None:
    file = place.stack.folder / "tokens"
    lines = file.read_text().splitlines()
    tokens.write(file, *lines, tokens.line("leaver", "viewer"))
    place.scheduler.signal(signal.SIGHUP)
    wait_until(lambda: _known(place, "leaver-token"), within=PATIENCE_S, what="the token is known")
    visitor = place.visitor("leaver-token")
    live = http.client.HTTPConnection("127.0.0.1", place.console.port, timeout=PATIENCE_S)
    with closing(live):
        live.request("GET", "/tasks/live", headers={"Cookie": cookies_of(visitor)})
        events = live.getresponse()
        assert events.readline() == b": open\n"
        while (line := events.readline()) != b"event: stale\n":  # its watch is there
            assert line, "the page has ended"
        tokens.write(file, *lines)
        place.scheduler.signal(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE_S
        while events.readline():
            assert time.monotonic() < deadline, "the page goes on"
    assert "The schedulers do not know your token any more." in visitor.get("/tasks").text


def test_an_operator_revokes_a_token_and_its_session_ends(place: Place) -> None:
    file = place.stack.folder / "tokens"
    lines = file.read_text().splitlines()
    tokens.write(file, *lines, tokens.line("former", "viewer", [place.account]))
    place.scheduler.signal(signal.SIGHUP)
    wait_until(lambda: _known(place, "former-token"), within=PATIENCE_S, what="the token is known")
    visitor, operator = place.visitor("former-token"), place.visitor()
    page = operator.get("/tokens").says("former", "Revoke the tokens named former, for good?")
    page.says(f'title="#{place.account}" translate="no"><bdi>').lacks("former-token", hash_of("former-token"))
    operator.post("/tokens/revoke", {"name": "former"}).says(
        "The tokens named former are revoked.", "revoked by operator"
    )
    visitor.get("/tasks").says("The schedulers do not know your token any more.")
    operator.post("/tokens/revoke", {"name": "nobody"}).says("nobody", status=404)
    tokens.write(file, *lines)
    place.scheduler.signal(signal.SIGHUP)


def _known(place: Place, token: str) -> bool:
    """Tells whether the scheduler knows a token; the console would count each try."""
    with ContentGenerationClient(place.scheduler.target, token=token) as client:
        try:
            return bool(client.get_caller())
        except Unauthenticated:
            return False


def test_a_form_of_another_site_does_nothing(place: Place) -> None:
    task_id = place.submit("not theirs", schedule_time="2030-01-01T00:00Z")
    visitor, path = place.visitor(), f"/tasks/{task_id}/cancel"
    answers = [
        visitor.post(path, {}, Sec_Fetch_Site="cross-site"),
        visitor.post(path, {}, Origin="https://example.org"),
        visitor.post(path, {}, csrf=""),
        visitor.post(path, {}, csrf="guessed"),
    ]
    assert [answer.status for answer in answers] == [403] * 4
    assert visitor.post("/login", {"token": OPERATOR}, Origin="https://example.org").status == 403
    assert present(place.client.get_task_status(task_id))["status"] == "pending"


def test_each_answer_has_the_headers_that_keep_others_out(place: Place) -> None:
    visitor = place.visitor()
    for path in ("/", "/tasks", "/login", "/no-such-page", "/static/console.css", "/healthz"):
        headers = {name.lower(): value for name, value in visitor.get(path).headers.items()}
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == ("no-cache" if path.startswith("/static") else "no-store")
        assert "server" not in headers


def test_an_address_may_try_ten_times_a_minute() -> None:
    now = [0.0]
    tries = SignInTries(lambda: now[0])
    assert [tries.admit("a") for _ in range(MAX_TRIES + 1)] == [True] * MAX_TRIES + [False]
    assert tries.admit("b")
    tries.forgive("a")
    assert tries.admit("a")
    assert not tries.admit("a")
    now[0] = 61.0
    assert tries.admit("a")
