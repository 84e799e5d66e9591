"""What is kept of a CLI's output, and how it becomes lines."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from worker_svc.output import MAX_LINE, Lines, Tail, drain


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
    splitter = Lines(heard.append)
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        splitter.add(whole[begin:end])
    splitter.end()
    assert heard == [*lines, *([rest] if rest else [])]


def test_a_line_without_an_end_is_cut() -> None:
    heard: list[str] = []
    splitter = Lines(heard.append)
    for _ in range(3):
        splitter.add(b"x" * MAX_LINE)
    splitter.add(b"\nnext\n")
    assert [len(line) for line in heard] == [MAX_LINE, 4]


async def test_draining_reads_to_the_end_and_tells_lines() -> None:
    reader, tail, heard = asyncio.StreamReader(), Tail(5), list[str]()
    reader.feed_data(b"one\ntwo\xff")
    reader.feed_eof()
    await drain(reader, tail, Lines(heard.append))
    assert heard == ["one", "two\ufffd"]
    assert (tail.bytes(), tail.truncated) == (b"\ntwo\xff"[-5:], True)
