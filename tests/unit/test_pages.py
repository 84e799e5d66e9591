"""Page sizes and tokens, and where a page ends."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contentgen.v1 import content_service_pb2 as content_pb
from contentgen.v1 import task_pb2
from contentgen.v1 import task_service_pb2 as pb
from scheduler_svc.domain.errors import InvalidArgument
from scheduler_svc.domain.ids import KEY_MAX
from scheduler_svc.runtime.pages import MAX_PAGE_BYTES, PageRequest, selection
from scheduler_svc.runtime.validation import Violations

KIB = 1024


def page(*scope: object, size: int = 0, token: str = "") -> PageRequest[int]:
    with Violations() as bad:
        return PageRequest.of(pb.ListTasksRequest(page_size=size, page_token=token), bad, *scope)


def cut(page: PageRequest[int], numbers: list[int], topic: str = "") -> tuple[list[int], str]:
    rows, token = page.cut(numbers, lambda n: task_pb2.Task(account_id=n, topic=topic), lambda n: n)
    return [row.account_id for row in rows], token


@pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)])
def test_a_page_size_has_a_default_and_a_maximum(asked: int, given: int) -> None:
    assert page("list", size=asked).size == given


def test_a_negative_page_size_and_a_bad_token_are_both_named() -> None:
    with pytest.raises(InvalidArgument) as raised:
        page("list", size=-1, token="x")
    assert [violation.field for violation in raised.value.violations] == ["page_size", "page_token"]


def test_a_full_page_has_the_token_of_the_next() -> None:
    first = page("list", 7, size=3)
    assert first.limit == 4
    numbers, token = cut(first, [9, 8, 7, 6])
    assert numbers == [9, 8, 7]
    second = page("list", 7, size=3, token=token)
    assert second.position == 7
    assert cut(second, [6]) == ([6], "")


def test_the_last_page_has_no_token_even_if_full() -> None:
    assert cut(page("list", size=3), [9, 8, 7]) == ([9, 8, 7], "")
    assert cut(page("list", size=3), []) == ([], "")


def test_a_page_that_stopped_early_has_a_token_for_the_rest() -> None:
    def stopped(numbers: list[int]) -> str:
        return first.cut(numbers, lambda n: task_pb2.Task(account_id=n), lambda n: n, rest=4)[1]

    first = page("list", size=2)
    for numbers in ([], [9], [9, 8]):
        assert page("list", token=stopped(numbers)).position == 4
    assert page("list", token=stopped([9, 8, 7])).position == 8, "it is full before that"


def test_a_page_ends_before_it_exceeds_3_mib() -> None:
    numbers, token = cut(page("list", size=1_000), list(range(1_000, 0, -1)), topic="x" * 4 * KIB)
    assert len(numbers) == MAX_PAGE_BYTES // (4 * KIB + 10)
    assert page("list", token=token).position == numbers[-1]


def test_a_page_has_at_least_one_item() -> None:
    numbers, token = cut(page("list"), [2, 1], topic="x" * (MAX_PAGE_BYTES + 1))
    assert numbers == [2]
    assert token


@pytest.mark.parametrize("other", [("list", 8), ("other", 7), ("list",), ("list", "7")])
def test_a_token_is_bound_to_its_list_and_filter(other: tuple[object, ...]) -> None:
    token = cut(page("list", 7, size=1), [2, 1])[1]
    with pytest.raises(InvalidArgument):
        page(*other, token=token)


def forged(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize("position", [0, -1, KEY_MAX + 1, 1.0, True, None, "1", [1]])
def test_a_forged_position_is_refused(position: object) -> None:
    scope = page("list").fingerprint
    assert page("list", token=forged([1, scope])).position == 1
    with pytest.raises(InvalidArgument):
        page("list", token=forged([position, scope]))


def page_of_names(size: int = 0, token: str = "") -> PageRequest[str]:
    with Violations() as bad:
        request = pb.ListTasksRequest(page_size=size, page_token=token)
        return PageRequest.of_names(request, bad, "names", default_size=20_000)


@pytest.mark.parametrize(("asked", "given"), [(0, 20_000), (1, 1), (1_001, 1_000)])
def test_a_list_may_have_its_own_default_size(asked: int, given: int) -> None:
    assert page_of_names(asked).size == given


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_a_position_may_be_a_name(name: str) -> None:
    rows, token = page_of_names(1).cut(
        [name, "the next"], lambda topic: task_pb2.Task(topic=topic), lambda topic: topic
    )
    assert [row.topic for row in rows] == [name]
    assert page_of_names(token=token).position == name


@pytest.mark.parametrize("position", ["", 1, None, "n" * 201, "n\0", "n\ud800", ["n"]])
def test_a_forged_name_is_refused(position: object) -> None:
    scope = page_of_names().fingerprint
    assert page_of_names(token=forged(["n", scope])).position == "n"
    with pytest.raises(InvalidArgument):
        page_of_names(token=forged([position, scope]))


NESTED = base64.urlsafe_b64encode(b"[" * 2_900).decode()


@given(st.one_of(st.text(), st.binary().map(lambda b: base64.urlsafe_b64encode(b).decode()), st.just("[" * 100_000)))
@example(NESTED)
def test_garbage_is_refused_as_a_token(token: str) -> None:
    if token:
        with pytest.raises(InvalidArgument):
            page("list", token=token.encode(errors="replace").decode())


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_another_json_document_is_refused_as_a_token(document: object) -> None:
    with pytest.raises(InvalidArgument):
        page("list", token=forged(document))


def test_a_list_without_new_fields_has_the_selection_of_the_version_before() -> None:
    first: dict[str, object] = {"account_id": 1, "review_status": 2}
    request = content_pb.ListContentsRequest(account_id=1, review_status=content_pb.REVIEW_STATUS_APPROVED)
    paged = content_pb.ListContentsRequest(page_size=9, page_token="a token")
    paged.MergeFrom(request)
    assert selection(request, **first) == selection(paged, **first) == (1, 2)
    searched = content_pb.ListContentsRequest(query="tea")
    searched.MergeFrom(request)
    assert selection(searched, **first) == (1, 2, searched_for("tea"))
    assert selection(searched, **first) != selection(content_pb.ListContentsRequest(query="coffee"), **first)


def searched_for(query: str) -> str:
    return content_pb.ListContentsRequest(query=query).SerializeToString(deterministic=True).hex()
