"""What is kept of a CLI's output, and how it becomes lines."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.waiting import wait_until_async
from worker_svc import output
from worker_svc.output import MAX_LINE, FileFollower, LineSplitter, Tail, read_to_end


@given(st.lists(st.binary(max_size=50), max_size=30), st.integers(1, 40))
def test_a_tail_is_the_last_bytes_however_they_come(chunks: list[bytes], limit: int) -> None:
    tail = Tail(limit)
    for chunk in chunks:
        tail.add(chunk)
    whole = b"".join(chunks)
    assert tail.bytes() == whole[-limit:]
    assert tail.truncated == (len(whole) > limit)
    assert tail.seen == len(whole)


_LINE = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=9)


@given(st.lists(_LINE, max_size=9), _LINE, st.data())
def test_lines_are_whole_wherever_the_stream_is_cut(lines: list[str], rest: str, data: st.DataObject) -> None:
    whole = "".join(f"{line}\n" for line in lines).encode() + rest.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=5)))
    heard: list[str] = []
    splitter = LineSplitter(heard.append)
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        splitter.add(whole[begin:end])
    splitter.end()
    assert heard == [*lines, *([rest] if rest else [])]


def test_a_line_without_an_end_is_cut() -> None:
    heard: list[str] = []
    splitter = LineSplitter(heard.append)
    for _ in range(3):
        splitter.add(b"x" * MAX_LINE)
    splitter.add(b"\nnext\n")
    assert [len(line) for line in heard] == [MAX_LINE, 4]


async def test_draining_reads_to_the_end_and_tells_lines() -> None:
    reader, tail, heard = asyncio.StreamReader(), Tail(5), list[str]()
    reader.feed_data(b"one\ntwo\xff")
    reader.feed_eof()
    await read_to_end(reader, [tail, LineSplitter(heard.append)])
    assert heard == ["one", "two\ufffd"]
    assert (tail.bytes(), tail.truncated) == (b"\ntwo\xff"[-5:], True)


async def test_a_file_is_followed_while_it_grows_and_read_to_its_end(tmp_path: Path) -> None:
    path, tail, heard = tmp_path / "stdout", Tail(5), list[str]()
    with path.open("ab", buffering=0) as file, path.open("rb") as read:
        following = FileFollower(read, [tail, LineSplitter(heard.append)])
        reading = asyncio.create_task(following.run())
        file.write(b"one\ntw")
        await wait_until_async(lambda: heard == ["one"], within=5, what="the first line is told")
        file.write(b"o\nthree")
        following.ended()
        await reading
    assert heard == ["one", "two", "three"]
    assert (tail.bytes(), tail.truncated, following.overflowed) == (b"three", True, False)


async def test_a_file_that_grows_too_large_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "MAX_FILE", 100_000)
    path = tmp_path / "stdout"
    path.write_bytes(b"x" * 1_000_000)
    tail = Tail(5)
    with path.open("rb") as read:
        following = FileFollower(read, [tail])
        await asyncio.wait_for(following.run(), 5)
    assert following.overflowed
    assert tail.seen < 200_000
