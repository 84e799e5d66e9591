"""Peers that open connections and say nothing, little, or too much: none of them takes what others need."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from console_svc.logs import MAX_LINES, WINDOW, Rate
from console_svc.serving import Server
from tests.console.conftest import OPERATOR, Place
from tests.harness.console import Console, Visitor
from tests.harness.waiting import wait_until_async

PATIENCE_S = 10.0
WAIT_LIMIT = 0.2
REQUEST = b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n"
FORM = b"POST /%b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388608\r\n\r\n"
OPEN_FILES = 300
MAX_LOG = 16 << 10
"""Bytes that a console may log of all that strangers do in a test."""

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _word(_: Request) -> Response:
    return PlainTextResponse("word")


async def _endless(_: Request) -> Response:
    async def zeros() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)
            await asyncio.sleep(0)  # nothing else lets others run once nobody is there

    return StreamingResponse(zeros())


async def _quiet(_: Request) -> Response:
    async def word() -> AsyncIterator[bytes]:
        yield b"word"
        await asyncio.Event().wait()

    return StreamingResponse(word())


APP = Starlette(routes=[Route("/word", _word), Route("/endless", _endless), Route("/quiet", _quiet)])


@asynccontextmanager
async def served(
    connections: int = 100, *, wait_limit: float = WAIT_LIMIT, cert: Path | None = None, key: Path | None = None
) -> AsyncIterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(APP, connections, wait_limit=wait_limit, cert=cert, key=key)
        job = asyncio.create_task(server.serve([listening]))
        async with asyncio.timeout(PATIENCE_S):
            yield Served(server, listening.getsockname()[1])
        server.should_exit = True
        await job


@dataclass(frozen=True)
class Served:
    server: Server
    port: int

    async def connect(self, *sent: bytes, tls: ssl.SSLContext | None = None) -> Stream:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=tls)
        writer.writelines(sent)
        return reader, writer

    async def word(self, tls: ssl.SSLContext | None = None) -> bytes:
        reader, writer = await self.connect(REQUEST % b"word", tls=tls)
        answer = await reader.readuntil(b"word")
        writer.transport.abort()
        return answer

    async def connections(self, number: int) -> None:
        """Returns once there are so many."""
        present = self.server.server_state.connections
        await wait_until_async(lambda: len(present) == number, within=PATIENCE_S, what=f"there are {number}")


async def rest(stream: Stream, *, dripping: bool = False) -> bytes:
    """What comes until the server closes the connection, to which a byte is sent from time to time if it drips."""
    reader, writer = stream
    received = b""
    with suppress(ConnectionError):
        while not reader.at_eof():
            with suppress(TimeoutError):
                received += await asyncio.wait_for(reader.read(65_536), WAIT_LIMIT / 10)
            if dripping:
                writer.write(b"x")
                await writer.drain()
    writer.transport.abort()
    return received


async def test_a_peer_that_says_too_little_is_cut_off() -> None:
    async with served() as place:
        silent = await place.connect()
        slow_headers = await place.connect(b"GET /word HTTP/1.1\r\nX: ")
        slow_body = await place.connect(FORM % b"nowhere")
        next_request = await place.connect(REQUEST % b"word", b"GET /word HTTP/1.1\r\nX: ")
        ends = await asyncio.gather(
            rest(silent),
            rest(slow_headers, dripping=True),
            rest(slow_body, dripping=True),
            rest(next_request, dripping=True),
        )
    assert [*ends[:2]] == [b"", b""]
    assert ends[2].startswith(b"HTTP/1.1 404")
    assert ends[3].endswith(b"word")


async def test_a_peer_that_takes_no_answer_is_cut_off_and_one_whose_answer_is_quiet_is_not() -> None:
    async with served() as place:
        reader, quiet = await place.connect(REQUEST % b"quiet")
        await reader.readuntil(b"word")
        _, deaf = await place.connect(REQUEST % b"endless")
        cast("asyncio.Transport", deaf.transport).pause_reading()
        await place.connections(2)
        await place.connections(1)
        assert not reader.at_eof()
        for writer in (quiet, deaf):
            writer.transport.abort()


async def test_whoever_has_waited_for_longest_gives_way_and_whoever_is_served_does_not() -> None:
    async with served(connections=3, wait_limit=PATIENCE_S) as place:
        idle = [await place.connect() for _ in range(3)]
        assert (await place.word()).endswith(b"word")
        assert await rest(idle[0]) == b""
        for _, writer in idle:
            writer.transport.abort()
        await place.connections(0)
        quiet = [await place.connect(REQUEST % b"quiet") for _ in range(3)]
        for reader, _ in quiet:
            await reader.readuntil(b"word")
        assert await rest(await place.connect(REQUEST % b"word")) == b""
        assert not any(reader.at_eof() for reader, _ in quiet)
        quiet.pop()[1].transport.abort()
        await place.connections(2)
        assert (await place.word()).endswith(b"word")
        for _, writer in quiet:
            writer.transport.abort()


async def test_a_handshake_that_stalls_is_a_connection_like_others(certificates: Path) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    cert, key = certificates / "server.pem", certificates / "server.key"
    async with served(connections=2, wait_limit=PATIENCE_S, cert=cert, key=key) as place:
        idle = [await place.connect() for _ in range(2)]
        assert (await place.word(context)).endswith(b"word")
        assert await rest(idle[0]) == b""
        idle[1][1].transport.abort()
    async with served(cert=cert, key=key) as place:
        assert await rest(await place.connect(b"\x16")) == b""
        assert await rest(await place.connect(b"no TLS at all")) != b"word"
        assert (await place.word(context)).endswith(b"word")


@pytest.fixture(scope="module")
def cramped(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console that may have few files open."""
    console = Console(tmp_path_factory.mktemp("console"), place.scheduler.target)
    console.command = ["sh", "-c", f'ulimit -n {OPEN_FILES}; exec "$0"', *console.command]
    console.start()
    yield console
    console.stop()


def test_more_connections_than_open_files_shut_nobody_out_and_log_little(cramped: Console, place: Place) -> None:
    with ExitStack() as opened:
        for _ in range(2 * OPEN_FILES):
            opened.enter_context(socket.create_connection(("127.0.0.1", cramped.port)))
        visitor = Visitor(cramped.url)
        assert visitor.sign_in(OPERATOR).status == 200
        assert visitor.get("/tasks").status == 200
    assert cramped.log.stat().st_size < MAX_LOG


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
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", cramped.port), PATIENCE_S) as peer:
            peer.sendall(b"no HTTP at all\r\n\r\n")
            assert peer.recv(12) == b"HTTP/1.1 400"
    assert cramped.log.stat().st_size < MAX_LOG


def test_lines_that_repeat_are_counted_and_left_out() -> None:
    now = [0.0]
    rate = Rate(lambda: now[0])

    def passed(line: int, times: int) -> list[logging.LogRecord]:
        records = [logging.LogRecord("a", logging.ERROR, "a.py", line, "text %s", (n,), None) for n in range(times)]
        return [record for record in records if rate.filter(record)]

    assert len(passed(1, MAX_LINES + 30)) == MAX_LINES
    assert len(passed(2, 1)) == 1
    now[0] = WINDOW
    (record,) = passed(1, 1)
    assert record.left_out == 30  # type: ignore[attr-defined] # for the formatter
