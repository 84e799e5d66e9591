"""Public ids, and what can't be one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.ids import (
    KEY_MAX,
    SEQUENCE_BITS,
    LeaseRef,
    format_task_id,
    make_key,
    parse_lease_id,
    parse_task_id,
)

keys = st.integers(1, KEY_MAX)
MILLISECONDS_2200 = 7_258_118_400_000


@given(keys)
def test_a_task_id_leads_back_to_its_key(key: int) -> None:
    task_id = format_task_id(key)
    assert re.fullmatch("task-[0-9a-f]{12,}", task_id)
    assert parse_task_id(task_id) == key


@given(keys, st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_a_lease_id_with_its_attempt_leads_back_to_the_lease(key: int, attempt: int, fence: int) -> None:
    ref = LeaseRef(key, attempt, fence)
    assert parse_lease_id(ref.lease_id, attempt) == ref


@pytest.mark.parametrize(
    "text",
    [
        "",
        "task-",
        "task-0000000000000000",  # no task has key 0
        "task-ffffffffffffffff",  # above what a key can be
        "task-123456789ab",
        "task-0123456789ABCDEF",
        "task-0123456789abcdef ",
        "task-0123456789abcdef\n",
        "task-0123456789abcdefg",
        " task-0123456789abcdef",
        "task-٠١٢٣٤٥٦٧٨٩abcdef",
        "lease-0123456789abcdef",
    ],
)
def test_invalid_task_ids_are_refused(text: str) -> None:
    assert parse_task_id(text) is None


@pytest.mark.parametrize(
    ("text", "attempt"),
    [
        ("", 1),
        ("lease-0123456789abcdef", 1),
        ("lease-0123456789abcdef-0123456", 1),
        ("lease-0123456789abcdef-01234567\n", 1),
        ("lease-0123456789abcdef-0123456G", 1),
        ("lease-0123456789abcdef-ffffffff", 1),  # a fence has 31 bits
        ("lease-ffffffffffffffff-01234567", 1),
        ("lease-0123456789abcdef-01234567", 0),
        ("lease-0123456789abcdef-01234567", -1),
        ("lease-0123456789abcdef-01234567", 1 << 31),
    ],
)
def test_invalid_lease_ids_are_refused(text: str, attempt: int) -> None:
    assert parse_lease_id(text, attempt) is None


@given(st.text(max_size=40))
def test_any_text_is_an_id_or_none(text: str) -> None:
    key = parse_task_id(text)
    assert key is None or format_task_id(key) == text


@given(st.integers(1, MILLISECONDS_2200), st.integers(0, 2**40))
def test_a_key_fits_a_bigint_and_holds_its_millisecond(milliseconds: int, sequence: int) -> None:
    key = make_key(milliseconds, sequence)
    assert 0 < key <= KEY_MAX
    assert key >> SEQUENCE_BITS == milliseconds


@given(st.integers(1, MILLISECONDS_2200), st.integers(1, 1000), st.integers(0, 2**40), st.integers(0, 2**40))
def test_keys_grow_with_time_whatever_the_sequence(at: int, later: int, first: int, second: int) -> None:
    assert make_key(at, first) < make_key(at + later, second)


@given(st.integers(1, MILLISECONDS_2200), st.integers(0, 2**40), st.integers(1, 2**SEQUENCE_BITS - 1))
def test_two_of_one_millisecond_differ(at: int, sequence: int, apart: int) -> None:
    assert make_key(at, sequence) != make_key(at, sequence + apart)
