"""What an exit, an error at start and an output mean."""

from __future__ import annotations

import errno
import json
import signal
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.harness.creator_cli import ProcessExit
from worker_svc.outcome import (
    MAX_IMAGES,
    MAX_MESSAGE,
    MAX_STDERR,
    Article,
    Completed,
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

MAX_RESULT = 3 * 1024 * 1024


def outcome(stdout: bytes | str, *, truncated: bool = False, max_result: int = MAX_RESULT) -> Completed | Failed:
    raw = stdout.encode() if isinstance(stdout, str) else stdout
    return of_output(raw, truncated=truncated, max_result=max_result)


def reason(got: Outcome | None) -> Reason:
    assert isinstance(got, Failed), got
    return got.reason


def result(got: Outcome) -> Article:
    assert isinstance(got, Completed), got
    return got.article


def test_a_clean_exit_says_nothing_yet() -> None:
    assert of_exit(ProcessExit(0, None), "warnings") is None


def test_an_exit_status_is_an_error_with_the_end_of_stderr() -> None:
    got = of_exit(ProcessExit(3, None), "first\n\x1b[31mError: no\x1b[0m\0\n")
    assert got == Failed(
        Reason.CREATOR_ERROR,
        "the CLI exited with status 3: Error: no",
        {"exit_code": "3", "stderr": "first\nError: no"},
    )


@pytest.mark.parametrize(("number", "name"), [(signal.SIGKILL, "SIGKILL"), (40, "signal 40")])
def test_a_signal_is_an_error_that_names_it(number: int, name: str) -> None:
    got = of_exit(ProcessExit(None, number), "")
    assert got == Failed(Reason.CREATOR_ERROR, f"the CLI was ended by {name}", {"signal": str(int(number))})


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ENOEXEC])
def test_a_cli_that_cannot_be_run_is_not_found(number: int) -> None:
    got = of_spawn_error(OSError(number, "cannot run", "/opt/creator"))
    assert got.reason is Reason.CREATOR_CLI_NOT_FOUND
    assert "/opt/creator" in got.message


@pytest.mark.parametrize("number", [errno.E2BIG, errno.EAGAIN, errno.ENOMEM])
def test_other_errors_at_start_are_not_about_the_path(number: int) -> None:
    assert of_spawn_error(OSError(number, "no space")).reason is Reason.CREATOR_ERROR


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
        texts = [got.article.content, got.article.html, *got.article.images]
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
    completed = of_document({"content": "text", "title": " A\ttitle\n", "usage": usage}, 1_000)
    assert isinstance(completed, Completed)
    article = completed.article
    assert (article.title, article.model) == ("A title", "a model")
    assert article.usage == {"input_tokens": 1200.0, "cost": 0.25}
    for bad in ({"title": 1, "usage": [1], "model": {}}, {"title": None, "usage": None, "model": None}, {}):
        completed = of_document({"content": "text", **bad}, 1_000)
        assert completed == Completed(Article("text"))
