"""The transition table: every state with every move, from the table itself and from the contract's own list."""

from __future__ import annotations

import itertools
import re

import pytest

from scheduler_svc.domain.lifecycle import EDGES, MOVES, OPEN, RETRYABLE, RUNNING, IllegalMove, Move, Status, after

S = Status

# Written down from the contract, not from the table: what a client may see a task do.
CONTRACT = {
    (S.NONE, S.PENDING): {Move.SUBMIT},
    (S.PENDING, S.SUBMITTED): {Move.LEASE},
    (S.PENDING, S.CANCELLED): {Move.CANCEL},
    (S.SUBMITTED, S.PROCESSING): {Move.START},
    (S.SUBMITTED, S.FAILED): {Move.FAIL, Move.LOSE},
    (S.PROCESSING, S.FAILED): {Move.FAIL, Move.LOSE},
    (S.SUBMITTED, S.TIMEOUT): {Move.TIME_OUT},
    (S.PROCESSING, S.TIMEOUT): {Move.TIME_OUT},
    (S.PROCESSING, S.COMPLETED): {Move.COMPLETE},
    (S.FAILED, S.PENDING): {Move.RETRY},
    (S.TIMEOUT, S.PENDING): {Move.RETRY},
    # five more, beyond the old application's
    (S.SUBMITTED, S.PENDING): {Move.RELEASE, Move.DEFER},
    (S.PROCESSING, S.PENDING): {Move.DEFER},
    (S.SUBMITTED, S.CANCELLED): {Move.CANCEL_BY_FORCE},
    (S.PROCESSING, S.CANCELLED): {Move.CANCEL_BY_FORCE},
    (S.PENDING, S.COMPLETED): {Move.COMPLETE_LATE},
    (S.PENDING, S.PENDING): {Move.UPDATE},
}


@pytest.mark.parametrize(("status", "move"), list(itertools.product(Status, Move)), ids=lambda member: member.name)
def test_each_move_from_each_state(status: Status, move: Move) -> None:
    targets = {edge.target for edge in EDGES if (edge.source, edge.move) == (status, move)}
    if targets:
        assert {after(status, move)} == targets
    else:
        with pytest.raises(IllegalMove, match=f"{move.name} from {status.name}"):
            after(status, move)


@pytest.mark.parametrize(("source", "target"), list(itertools.product(Status, Status)), ids=lambda member: member.name)
def test_the_table_has_the_contract_s_edges_and_no_others(source: Status, target: Status) -> None:
    moves = {edge.move for edge in EDGES if (edge.source, edge.target) == (source, target)}
    assert moves == CONTRACT.get((source, target), set())
    assert ((source, target) in MOVES) == ((source, target) in CONTRACT)


def test_completed_and_cancelled_are_final() -> None:
    assert not [edge for edge in EDGES if edge.source in (Status.COMPLETED, Status.CANCELLED)]


def test_no_move_leads_back_to_before_the_submit() -> None:
    assert not [edge for edge in EDGES if edge.target is Status.NONE]


def test_each_open_state_has_a_move() -> None:
    leaves = {edge.source for edge in EDGES}
    assert leaves == set(Status) - {Status.COMPLETED, Status.CANCELLED}


def test_a_letter_is_one_move_and_the_letters_have_no_gap() -> None:
    letters = {edge.letter: edge.move for edge in EDGES}
    assert len(set(letters.values())) == len(letters)
    assert "".join(letters) == "abcdefghijklmnopqrstuvwxyz"[: len(letters)]
    assert {edge.move for edge in EDGES} == set(Move)


def test_the_numbers_are_those_of_the_contract() -> None:
    names = ["NONE", "PENDING", "SUBMITTED", "PROCESSING", "COMPLETED", "FAILED", "TIMEOUT", "CANCELLED"]
    assert [(status.value, status.name) for status in Status] == list(enumerate(names))


@pytest.mark.parametrize("status", Status)
def test_labels_are_the_lower_case_names(status: Status) -> None:
    assert re.fullmatch("[a-z]+", status.label)
    assert status.label.upper() == status.name


def test_the_groups_of_states() -> None:
    assert {S.PENDING, S.SUBMITTED, S.PROCESSING} == OPEN
    assert {S.SUBMITTED, S.PROCESSING} == RUNNING
    assert {S.FAILED, S.TIMEOUT} == RETRYABLE
