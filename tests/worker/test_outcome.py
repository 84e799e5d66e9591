"""What an exit and an output mean, and what is kept of the output."""

from __future__ import annotations

import asyncio
import errno
import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.waiting import wait_until_async
from worker_svc import output
from worker_svc.outcome import (
    MAX_IMAGES,
    MAX_MESSAGE,
    MAX_STDERR,
    Article,
    Exit,
    Failed,
    Outcome,
    Reason,
    documents,
    failed,
    of_document,
    of_exit,
    of_output,
    of_spawn_error,
    of_time_out,
)
from worker_svc.output import MAX_LINE, FileFollower, LineSplitter, Tail, read_to_end

pytestmark = pytest.mark.unit


# What an exit, an error at start and an output mean.

MAX_RESULT = 3 * 1024 * 1024


def outcome(stdout: bytes | str, *, truncated: bool = False, max_result: int = MAX_RESULT) -> Article | Failed:
    raw = stdout.encode() if isinstance(stdout, str) else stdout
    return of_output(raw, truncated=truncated, max_result=max_result)


def reason(got: Outcome | None) -> Reason:
    assert isinstance(got, Failed), got
    return got.reason


def result(got: Outcome) -> Article:
    assert isinstance(got, Article), got
    return got


def test_a_clean_exit_says_nothing_yet() -> None:
    assert of_exit(Exit(0, None), "warnings") is None


def test_an_exit_status_is_an_error_with_the_end_of_stderr() -> None:
    got = of_exit(Exit(3, None), "first\n\x1b[31mError: no\x1b[0m\0\n")
    assert got == Failed(
        Reason.CREATOR_ERROR,
        "the CLI exited with status 3: Error: no",
        {"exit_code": "3", "stderr": "first\nError: no"},
    )


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (40, "signal 40")])
def test_a_signal_is_an_error_that_names_it(number: int, name: str) -> None:
    got = of_exit(Exit(None, number), "")
    assert got == Failed(Reason.CREATOR_ERROR, f"the CLI was ended by {name}", {"signal": str(int(number))})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *((name, Reason.CREATOR_CLI_NOT_FOUND) for name in ("ENOENT", "EACCES", "ENOTDIR", "ENOEXEC")),
        *((name, Reason.CREATOR_ERROR) for name in ("E2BIG", "EAGAIN", "ENOMEM")),
    ],
)
def test_a_cli_that_cannot_be_run_is_not_found_unless_that_is_not_about_its_path(name: str, reason: Reason) -> None:
    got = of_spawn_error(OSError(getattr(errno, name), "cannot run", "/opt/creator"))
    assert got.reason is reason
    assert "/opt/creator" in got.message


def test_a_call_past_its_limit_names_the_command_and_the_limit() -> None:
    got = of_time_out("create", 30.0, "still loading")
    assert got == Failed(Reason.CREATOR_TIMEOUT, "`create` did not end within 30 s", {"stderr": "still loading"})


def test_errors_are_bounded_and_keep_the_end_of_stderr() -> None:
    got = failed(Reason.CREATOR_ERROR, "x" * 100_000, "y" * 100_000 + "the end")
    assert len(got.message) == MAX_MESSAGE
    assert len(got.details["stderr"]) == MAX_STDERR
    assert got.details["stderr"].endswith("the end")


def test_a_full_result() -> None:
    document = {
        "content": "# 标题\n正文",
        "htmlContent": "<h1>标题</h1>",
        "images": ["cover.png", {"url": "https://example.org/a.png", "width": 1}],
        "qualityScore": 8,
        "tokens": 0,
    }
    expected = Article("# 标题\n正文", "<h1>标题</h1>", ("cover.png", "https://example.org/a.png"), 8.0)
    assert result(outcome(json.dumps(document))) == expected
    assert result(outcome(json.dumps(document, ensure_ascii=False, indent=2))) == expected


@pytest.mark.parametrize("absent", [{}, {"htmlContent": None, "images": None, "qualityScore": None}])
def test_all_but_the_content_may_be_absent(absent: dict[str, object]) -> None:
    assert result(outcome(json.dumps({"content": "text", **absent}))) == Article("text")


@pytest.mark.parametrize(
    ("stdout", "content"),
    [
        ('{"content": "a"}\n{"content": "b"}\n', "b"),
        ('{"content": "a"}{"content": "b"}', "b"),
        ('loading {models}\nprogress: 50%\n{"content": "b"}\nbye {now}\n', "b"),
        ('{"a": 1\n{"content": "after a broken one"}', "after a broken one"),
        ('\r 40%\r 100%\r{"content": "b"}', "b"),
        ('\x1b[0m{"content": "b"}\x1b[0m', "b"),
        ('Result: {"content": "b"}', "b"),
        ('\ufeff{"content": "b"}', "b"),
        ('{"content": "b"}\n{"progress": 100, "step": "done"}\n', "b"),
        ('{"content": "b", "progress": 100}', "b"),
        ('{\n  "meta": {"content": "inner"},\n  "content": "outer"\n}\n', "outer"),
        ('{"content": "{\\"content\\": \\"quoted\\"}"}', '{"content": "quoted"}'),
    ],
)
def test_the_last_document_is_the_result(stdout: str, content: str) -> None:
    assert result(outcome(stdout)).content == content


@pytest.mark.parametrize(
    "stdout",
    [
        "",
        "   \n",
        "no json at all",
        "[1, 2]",
        '"text"',
        "{}",
        '{"content": ""}',
        '{"content": " \\n"}',
        '{"content": "\\u0000"}',
        '{"content": null}',
        '{"content": 5}',
        '{"content": "a"}\n{"error": "later"}',
        '{"content": "cut off',
        '{"content": "an earlier one"}\n{"content": "cut off", "images": [',
        '{"content": "broken" "images": [{"content": "inner"}]}',
        '{"content": "a", "htmlContent": ["x"]}',
        '{"content": "a", "images": "x.png"}',
        '{"content": "a", "images": [1]}',
        '{"content": "a", "images": [{"href": "x"}]}',
        '{"content": "a", "images": [""]}',
        '{"content": "a", "images": ["\\u0000"]}',
        '{"content": "a", "qualityScore": NaN}',
        '{"content": "a", "qualityScore": Infinity}',
        '{"content": "a", "qualityScore": 1e999}',
        '{"content": "a", "qualityScore": "8.6"}',
        '{"content": "a", "qualityScore": true}',
        pytest.param('{"content": "a", "qualityScore": 1' + "0" * 400 + "}", id="above a double"),
        pytest.param('{"content": "a", "qualityScore": 1' + "0" * 5_000 + "}", id="thousands of digits"),
        pytest.param('{"content": "a", "x": ' + "[" * 100_000, id="nested deeply"),
        "{",
        "{" * 1_000,
    ],
)
def test_anything_else_is_an_invalid_response(stdout: str) -> None:
    assert reason(outcome(stdout)) is Reason.CREATOR_INVALID_RESPONSE


def test_the_message_shows_how_garbage_begins() -> None:
    got = outcome(b"\xff\x1b[31m502 Bad Gateway\n")
    assert isinstance(got, Failed)
    assert "502 Bad Gateway" in got.message
    assert "\x1b" not in got.message


def test_characters_that_postgresql_or_utf8_cannot_hold_are_removed() -> None:
    got = result(outcome(b'{"content": "a\\u0000b\\ud800c\xffd\\ud83d\\ude00", "images": ["\\udc00.png"]}'))
    assert got == Article("ab\ufffdc\ufffdd\U0001f600", "", ("\ufffd.png",))


def test_body_and_html_together_are_bounded_in_bytes() -> None:
    document = json.dumps({"content": "正文", "htmlContent": "<p>"})
    assert result(outcome(document, max_result=9)).html == "<p>"
    assert reason(outcome(document, max_result=8)) is Reason.RESULT_TOO_LARGE


@pytest.mark.parametrize("images", [["x"] * (MAX_IMAGES + 1), ["x" * 1024 * 1024]])
def test_images_are_bounded(images: list[str]) -> None:
    assert reason(outcome(json.dumps({"content": "a", "images": images}))) is Reason.RESULT_TOO_LARGE


@pytest.mark.parametrize(
    "tail",
    [
        'end of a body", "images": [{"url": "x"}], "qualityScore": 1}\n',
        'end of a body",\n  "steps": [\n    {\n      "content": "inner"\n    }\n  ]\n}\n',
        "xxxxxxxxxxxx",
        'xxx\n{"status": "done"}\n',
        "",
    ],
)
def test_output_without_its_beginning_is_too_large(tail: str) -> None:
    assert reason(outcome(tail, truncated=True)) is Reason.RESULT_TOO_LARGE


def test_a_whole_document_after_much_noise_is_a_result() -> None:
    assert result(outcome('noise {"a":\n{"content": "b"}\n', truncated=True)).content == "b"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
result_documents = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["content", "htmlContent", "images", "qualityScore"], json_values)
)
pieces = st.sampled_from(["{", "}", '"', "\n", "[", ":", ",", '{"a":', "\\", " ", "1", "progress", '{"content":"x"}'])


@given(st.binary() | result_documents.map(lambda d: json.dumps(d).encode()), st.booleans())
def test_any_output_has_an_outcome_that_can_be_stored(stdout: bytes, truncated: bool) -> None:
    got = outcome(stdout, truncated=truncated)
    if isinstance(got, Failed):
        assert got.reason in {Reason.CREATOR_INVALID_RESPONSE, Reason.RESULT_TOO_LARGE}
        assert len(got.message) <= MAX_MESSAGE
        texts = [got.message, *got.details.values()]
    else:
        texts = [got.content, got.html, *got.images]
    assert all("\0" not in text and text.encode() is not None for text in texts)


@given(st.lists(pieces).map("".join))
def test_documents_come_from_any_text(text: str) -> None:
    results = list(documents(text))
    assert None not in results[:-1]
    assert all(isinstance(document, dict) for document in results if document is not None)


@given(st.text(alphabet=st.characters(exclude_characters="{")), st.dictionaries(st.text(), json_values))
def test_a_document_on_a_line_of_its_own_is_found(noise: str, document: dict[str, Any]) -> None:
    text = f"{noise}\n{json.dumps(document)}\n{noise}"
    assert [json.dumps(item) for item in documents(text)] == [json.dumps(document)]


@pytest.mark.parametrize("unit", ["{\n", '{"a":[\n', '{"a":1\n', '{"a":"b\n', '{"a":1}\n', "{{{{", '{"a":{"a":\n'])
def test_reading_takes_time_in_proportion_to_the_output(unit: str) -> None:
    text = unit * (2 * 1024 * 1024 // len(unit))
    begin = time.process_time()
    for _ in documents(text):
        pass
    assert time.process_time() - begin < 10  # quadratic work would take minutes


def test_title_usage_and_model_are_taken_where_they_are_what_they_should_be() -> None:
    usage = {
        "inputTokens": 1200,
        "cost": 0.25,
        "model": "a\nmodel",
        "ok": True,
        "nan": float("nan"),
        "": 1,
        "big": 10**400,
    }
    article = of_document({"content": "text", "title": " A\ttitle\n", "usage": usage}, 1_000)
    assert isinstance(article, Article)
    assert (article.title, article.model) == ("A title", "a model")
    assert article.usage == {"input_tokens": 1200.0, "cost": 0.25}
    for bad in ({"title": 1, "usage": [1], "model": {}}, {"title": None, "usage": None, "model": None}, {}):
        assert of_document({"content": "text", **bad}, 1_000) == Article("text")


# What is kept of a CLI's output, and how it becomes lines.


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
