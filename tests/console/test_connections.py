"""Peers that open connections and say nothing, little, or too much: none of them takes what others need."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from console_svc.logs import MAX_LINES, WINDOW, Rate
from tests.console.conftest import OPERATOR, Place
from tests.harness.console import Console, Visitor

PATIENCE_S = 60.0
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


def test_the_form_to_sign_in_is_small(cramped: Console) -> None:
    for body in (b"&" * (8 << 20), b"token=" + b"x" * (2 << 20), b"token=" + b"%41" * 8_000):
        assert Visitor(cramped.url).send("/login", body).status == 413


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
        records = [
            logging.LogRecord("a", logging.ERROR, "a.py", line, "text %s", (number,), None) for number in range(times)
        ]
        return [record for record in records if rate.filter(record)]

    assert len(passed(1, MAX_LINES + 30)) == MAX_LINES
    assert len(passed(2, 1)) == 1
    now[0] = WINDOW
    (record,) = passed(1, 1)
    assert record.left_out == 30  # type: ignore[attr-defined] # for the formatter
