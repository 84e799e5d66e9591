"""Where a console listens, and peers that connect and say nothing."""

from __future__ import annotations

import http.client
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import yaml
from starlette.requests import Request

from console_svc.logs import MAX_LINES, WINDOW, Rate
from console_svc.web.security import address_of
from tests.console.conftest import OPERATOR, VIEWER, Place, cookies_of, open_console
from tests.harness.console import Console, Visitor
from tests.harness.process import installed, run_to_end
from tests.harness.processes import free_port
from tests.harness.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.browser


# Where a console listens and how it ends: TLS, a prefix, a proxy's header, probes, signals, wrong settings.


ROOT = Path(__file__).parents[2]
OWN_ADDRESSES = {"CONTENTGEN_CONSOLE_LISTEN", "CONTENTGEN_SCHEDULER"}


Start = Callable[..., Console]


@pytest.fixture(scope="module")
def start(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts consoles with settings of their own, which end with the module."""
    with ExitStack() as started:

        def start(**settings: str) -> Console:
            folder = tmp_path_factory.mktemp("console")
            return started.enter_context(Console(folder, place.scheduler.target, **settings).start())

        yield start


@pytest.fixture(scope="module")
def told_tokens(start: Start) -> Console:
    """A console that takes tokens from a proxy's header."""
    return start(CONTENTGEN_CONSOLE_TOKEN_HEADER="X-Desk-Token")


@pytest.fixture(scope="module")
def behind_proxy(start: Start) -> Console:
    """A console that believes what a proxy says of addresses."""
    return start(CONTENTGEN_CONSOLE_BEHIND_PROXY="true")


@pytest.fixture(scope="module")
def measured(start: Start) -> tuple[Console, Visitor]:
    """A console, and a visitor of its metrics and probes."""
    port = free_port()
    return start(CONTENTGEN_METRICS_LISTEN=f"127.0.0.1:{port}"), Visitor(f"http://127.0.0.1:{port}")


@pytest.fixture
def console(place: Place, tmp_path: Path) -> Iterator[Start]:
    """Starts a console for one test, with settings of its own."""
    with ExitStack() as started:
        yield lambda **settings: started.enter_context(Console(tmp_path, place.scheduler.target, **settings).start())


def test_by_tls_and_below_a_prefix(console: Start, certificates: Path) -> None:
    files = {"CERT": certificates / "server.pem", "KEY": certificates / "server.key"}
    settings = {f"CONTENTGEN_CONSOLE_TLS_{name}": str(path) for name, path in files.items()}
    served = console(CONTENTGEN_CONSOLE_PREFIX="/desk", **settings)
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    visitor = Visitor(served.url.replace("http:", "https:"), context)
    assert visitor.get("/desk/").url.endswith("/desk/login")
    answer = visitor.post("/desk/login", {"token": OPERATOR}).says('href="/desk/tasks"')
    assert answer.url.endswith("/desk/")
    assert visitor.get("/desk/static/console.css").status == 200
    assert [visitor.get(path).status for path in ("/tasks", "/desk/tasks/")] == [404, 404]  # no redirect
    assert visitor.get("/desk").url.endswith("/desk/")
    (cookie,) = visitor.cookies
    assert (cookie.name, cookie.secure, cookie.path) == ("__Host-session", True, "/")
    assert answer.headers["strict-transport-security"].startswith("max-age=")


def test_a_proxy_may_name_the_token(told_tokens: Console) -> None:
    answer = Visitor(told_tokens.url).get("/tasks", **{"X-Desk-Token": VIEWER}).says("viewer")
    assert answer.url.endswith("/tasks")
    for headers in ({"X-Desk-Token": "nobody's"}, {}):
        assert Visitor(told_tokens.url).get("/tasks", **headers).url.endswith("/login?next=%2Ftasks")


def test_the_proxy_s_token_beats_a_cookie_of_another(told_tokens: Console) -> None:
    browser = Visitor(told_tokens.url)
    assert ">operator</span> ·" in browser.get("/tasks", **{"X-Desk-Token": OPERATOR}).text
    (old_cookie,) = browser.cookies
    assert ">viewer</span> ·" in browser.get("/tasks", **{"X-Desk-Token": VIEWER}).text
    browser.cookies.set_cookie(old_cookie)
    assert browser.get("/tasks", **{"X-Desk-Token": "nobody's"}).url.endswith("/login?next=%2Ftasks")
    assert browser.get("/tasks").url.endswith("/login?next=%2Ftasks")
    assert ">operator</span> ·" in browser.get("/tasks", **{"X-Desk-Token": OPERATOR}).text


def test_a_proxy_that_names_tokens_hinders_nobody_where_none_are_asked_for(tmp_path: Path) -> None:
    with open_console(tmp_path, {"CONTENTGEN_CONSOLE_TOKEN_HEADER": "X-Desk-Token"}) as served:
        visitor = Visitor(served.url)
        visitor.get("/accounts/new")
        assert "<h1>Not done</h1>" not in visitor.post("/accounts/new", {"name": ""}).text
        assert visitor.post("/accounts/new", {"name": ""}, csrf="guessed").status == 403


def test_the_header_means_nothing_unless_an_operator_turned_it_on(place: Place) -> None:
    headers = {"X-Desk-Token": OPERATOR, "Authorization": f"Bearer {OPERATOR}"}
    assert Visitor(place.console.url).get("/tasks", **headers).url.endswith("/login?next=%2Ftasks")


def test_an_address_behind_a_proxy_is_the_one_that_the_proxy_saw(behind_proxy: Console) -> None:
    def tried(forwarded: str) -> int:
        return Visitor(behind_proxy.url).post("/login", {"token": "wrong"}, X_Forwarded_For=forwarded).status

    assert [tried(f"10.0.0.{made_up}, 192.0.2.1") for made_up in range(11)] == [403] * 10 + [429]
    assert tried("192.0.2.2") == 403


def test_of_x_forwarded_for_only_the_last_value_counts_and_only_an_address() -> None:
    def seen(*lines: str) -> str:
        headers = [(b"x-forwarded-for", line.encode()) for line in lines]
        request = Request({"type": "http", "client": ("10.9.9.9", 1), "headers": headers})
        return address_of(request, behind_proxy=True)

    assert seen("10.0.0.1", "10.0.0.2, 192.0.2.1") == seen("192.0.2.1") == "192.0.2.1"
    assert seen("10.0.0.1", "2001:db8::1") == "2001:db8::1"
    bad_headers = (("made up",), ("192.0.2.1, ",), ("x" * 8_000,), ("fe80::1%" + "x" * 8_000,), ())
    assert {seen(*lines) for lines in bad_headers} == {"10.9.9.9"}


def test_probes_and_metrics_have_an_address_of_their_own(measured: tuple[Console, Visitor]) -> None:
    served, probe = measured
    assert Visitor(served.url).get("/healthz").status == 200
    Visitor(served.url).sign_in("wrong")
    visitor = Visitor(served.url)
    visitor.sign_in(OPERATOR)
    visitor.get("/tasks")
    assert [probe.get(path).status for path in ("/livez", "/readyz")] == [200, 200]
    probe.get("/metrics").says(
        'contentgen_build_info{service="console",version=',
        'contentgen_console_answers_total{method="GET",page="/tasks",status="200"} 1.0',
        'contentgen_console_sign_ins_total{outcome="accepted"} 1.0',
        'contentgen_console_sign_ins_total{outcome="unknown_token"} 1.0',
        "contentgen_console_sessions 1.0",
        "contentgen_console_live_pages 0.0",
        'contentgen_console_answer_seconds_count{page="/tasks"} 1.0',
    )
    assert Visitor(served.url).get("/metrics").status == 404


def test_many_open_pages_cost_one_watch_and_a_stop_ends_them(measured: tuple[Console, Visitor]) -> None:
    served, probe = measured
    visitor = Visitor(served.url)
    visitor.sign_in(OPERATOR)
    header = cookies_of(visitor)
    pages = [http.client.HTTPConnection("127.0.0.1", served.port, timeout=PATIENCE_S) for _ in range(22)]
    streams = []
    for page in pages:
        page.request("GET", "/tasks/live", headers={"Cookie": header})
        streams.append(page.getresponse())
    assert {stream.status for stream in streams} == {200}
    for stream in streams[:2]:
        stream.read()  # it ends, for 20 others are newer
    probe.get("/metrics").says("contentgen_console_live_pages 20.0", "contentgen_console_watches 1.0")
    with closing(pages.pop()):
        pass
    wait_until(
        lambda: "contentgen_console_live_pages 19.0" in probe.get("/metrics").text,
        within=PATIENCE_S,
        what="the console has noticed that a page is closed",
    )
    served.signal(signal.SIGTERM)
    served.ended(within=PATIENCE_S)
    for page in pages:
        page.close()


def test_an_interrupt_ends_it_well_as_a_stop_does(console: Start) -> None:
    served = console()
    served.signal(signal.SIGINT)
    served.ended(within=PATIENCE_S)


def test_an_address_in_use_is_named_before_it_serves(place: Place) -> None:
    program = installed("contentgen-console")
    outcome = run_to_end([program, f"--console-listen=127.0.0.1:{place.console.port}"], within=PATIENCE_S)
    assert outcome.returncode == 78
    assert "stop what uses it" in outcome.stderr


def test_many_browsers_may_sign_in_at_once(place: Place) -> None:
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: place.visitor(VIEWER).get("/tasks").status, range(4)))
    assert statuses == [200] * 4


def test_a_name_that_leads_here_but_is_not_its_own_leads_nowhere(tmp_path: Path) -> None:
    """As a page of another site would ask, whose name server has answered with our address: to try, as we ship it."""
    with open_console(tmp_path, {**_to_try(), "CONTENTGEN_CONSOLE_HOSTS": "desk.example.com"}) as served:
        for own_host in (f"127.0.0.1:{served.port}", f"localhost:{served.port}", "[::1]", "Desk.example.com:8443"):
            answer = Visitor(served.url).get("/healthz", Host=own_host)
            assert (answer.status, answer.text) == (200, "ok\n")
        assert Visitor(served.url).get("/tasks").url.endswith("/tasks")
        near_hosts = ("rebound.example", "desk.example.com.rebound.example", "127.0.0.1.rebound.example")
        for foreign_host in (*near_hosts, "[", "a@b"):
            for path in ("/tasks", "/login", "/static/console.css", "/healthz"):
                answer = Visitor(served.url).get(path, Host=foreign_host).says("CONTENTGEN_CONSOLE_HOSTS", status=421)
                assert "set-cookie" not in answer.headers


def _to_try() -> dict[str, str]:
    """What the compose file and the overlay to try set for a console, but for its addresses."""
    (console,) = yaml.safe_load_all((ROOT / "docker/compose.yaml").read_text())
    overlay = yaml.safe_load((ROOT / "deploy/kubernetes/overlays/try/kustomization.yaml").read_text())
    maps = {generator["name"]: generator["literals"] for generator in overlay["configMapGenerator"]}
    literals = maps["contentgen-console"]
    settings = {**console["services"]["console"]["environment"], **dict(literal.split("=", 1) for literal in literals)}
    return {name: value for name, value in settings.items() if name not in OWN_ADDRESSES}


def test_behind_a_proxy_any_name_counts_unless_they_are_listed(behind_proxy: Console, console: Start) -> None:
    listed = console(CONTENTGEN_CONSOLE_BEHIND_PROXY="true", CONTENTGEN_CONSOLE_HOSTS="desk.example.com")
    for served, other_status in ((behind_proxy, 200), (listed, 421)):
        assert Visitor(served.url).get("/login", Host="desk.example.com").status == 200
        assert Visitor(served.url).get("/login", Host="other.example").status == other_status


def test_an_address_that_nearly_exists_leads_nowhere(place: Place) -> None:
    """A redirect would lead to whatever host the request names."""
    assert Visitor(place.console.url).get("/tasks/").status == 404


# Peers that open connections and say nothing, little, or too much: none of them takes what others need.


FORM = b"POST /%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388608\r\n\r\n"
OPEN_FILES = 300
MAX_LOG = 16 << 10
"""Bytes that a console may log of all that strangers do in a test."""


@pytest.fixture(scope="module")
def cramped(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console that may have few files open."""
    console = Console(tmp_path_factory.mktemp("console"), place.scheduler.target)
    console.command = ["sh", "-c", f'ulimit -n {OPEN_FILES}; exec "$0"', *console.command]
    console.start()
    yield console
    console.stop()


def test_more_connections_than_open_files_shut_nobody_out_and_log_little(cramped: Console, place: Place) -> None:
    size = cramped.log.stat().st_size
    with ExitStack() as opened:
        for _ in range(2 * OPEN_FILES):
            opened.enter_context(socket.create_connection(("127.0.0.1", cramped.port)))
        visitor = Visitor(cramped.url)
        assert visitor.sign_in(OPERATOR).status == 200
        assert visitor.get("/tasks").status == 200
    assert cramped.log.stat().st_size - size < MAX_LOG


def test_a_form_is_read_only_where_one_is_asked_for_and_by_whom(cramped: Console) -> None:
    """Each answer is there before the body."""
    for path, status in ((b"no-such-page", b"404"), (b"new", b"303"), (b"logout", b"303"), (b"login", b"403")):
        with socket.create_connection(("127.0.0.1", cramped.port), PATIENCE_S) as peer:
            peer.sendall(FORM % path)
            assert peer.recv(12) == b"HTTP/1.1 " + status


def test_what_strangers_can_have_logged_is_little(cramped: Console) -> None:
    size = cramped.log.stat().st_size
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", cramped.port), PATIENCE_S) as peer:
            peer.sendall(b"no HTTP at all\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 400"
    assert cramped.log.stat().st_size - size < MAX_LOG


def test_lines_that_repeat_are_counted_and_left_out() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])

    def passed(line: int, times: int) -> list[logging.LogRecord]:
        texts = [(number,) for number in range(times)]
        records = [logging.LogRecord("a", logging.ERROR, "a.py", line, "text %s", text, None) for text in texts]
        return [record for record in records if rate.filter(record)]

    assert len(passed(1, MAX_LINES + 30)) == MAX_LINES
    assert len(passed(2, 1)) == 1
    now[0] = WINDOW
    (record,) = passed(1, 1)
    assert record.left_out == 30  # type: ignore[attr-defined] # for the formatter
