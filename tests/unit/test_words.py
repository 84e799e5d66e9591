"""The check for retired words."""

from __future__ import annotations

import pytest

from verification.generated.words import uses_in


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("if there is room for it", "room"),
        ("self._rooms = 1", "rooms"),
        ("Steering a task", "Steering"),
        ("MOST = 3", "MOST"),
    ],
)
def test_a_retired_word_is_found_with_its_place(line: str, word: str) -> None:
    assert list(uses_in("some/file.py", f"first\n{line}\n")) == [f"some/file.py:2: {word}"]


@pytest.mark.parametrize("line", ["a mushroom", "bedrooms", "a doorstep", "most of it", "for each row"])
def test_a_part_of_another_word_is_not_found(line: str) -> None:
    assert list(uses_in("some/file.py", line)) == []


def test_an_allowed_sense_is_not_found() -> None:
    assert list(uses_in("docs/creators.md", "--audience=people")) == []
    assert list(uses_in("docs/client.md", "--audience=people")) == ["docs/client.md:1: audience"]
