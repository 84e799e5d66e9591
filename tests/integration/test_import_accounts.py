"""Ids of accounts are kept, or the import names the conflict and writes nothing."""

from __future__ import annotations

import pytest

from tests.harness.importing import Importing
from tests.harness.old_application import OldApplication

IDS = "SELECT account_id, name FROM accounts ORDER BY account_id"


@pytest.fixture
def here(importing: Importing, old: OldApplication) -> Importing:
    """Accounts 1 and 2 are here already; the source has 1, 2 and 3 too, each with a task."""
    importing.sql(
        """INSERT INTO accounts (name, max_concurrent_tasks, weight)
            VALUES ('here 1', 0, 1), ('here 2', 0, 1) RETURNING account_id"""
    )
    for number in (1, 2, 3):
        old.account(number, f"old {number}")
        old.task(number, account_id=number)
    return importing


def accounts_of_tasks(importing: Importing) -> list[tuple[str, int]]:
    rows = importing.sql(
        "SELECT p.topic, t.account_id FROM tasks AS t JOIN task_payloads AS p USING (task_key) ORDER BY 1"
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("arguments", [(), ("--dry-run",), ("--map-account", "1=1")])
def test_an_id_in_use_is_refused_naming_both_accounts(here: Importing, arguments: tuple[str, ...]) -> None:
    before = here.dump()
    assert here(*arguments) == 78
    assert 'account 2 "old 2" of the source, and account 2 "here 2"' in here.err
    assert ('account 1 "old 1" of the source, and account 1 "here 1"' in here.err) == (
        arguments[:1] != ("--map-account",)
    )
    assert "old 3" not in here.err
    assert "--map-account OLD=NEW" in here.err
    assert "--renumber" in here.err
    assert here.dump() == before


def test_renumbered_accounts_get_new_ids_and_others_keep_theirs(here: Importing) -> None:
    assert here("--renumber") == 0
    assert here.sql(IDS) == [(1, "here 1"), (2, "here 2"), (3, "old 3"), (4, "old 1"), (5, "old 2")]
    assert accounts_of_tasks(here) == [("topic 1", 4), ("topic 2", 5), ("topic 3", 3)]
    assert here() == 0  # the choices are stored
    assert here.sums()["accounts"] == (0, 3, 0)
    here.check()


def test_tasks_of_a_mapped_account_belong_to_its_target(here: Importing) -> None:
    assert here("--map-account", "1=2", "--map-account", "2=77") == 0
    assert here.sql(IDS) == [(1, "here 1"), (2, "here 2"), (3, "old 3"), (77, "old 2")]
    assert accounts_of_tasks(here) == [("topic 1", 2), ("topic 2", 77), ("topic 3", 3)]
    assert here("--map-account", "1=2") == 0
    assert here("--map-account", "1=3") == 78
    assert "account 1 was imported as 2" in here.err
    here.check()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--map-account", "9=1"), "the source has no account 9"),
        (("--map-account", "9"), "must be OLD=NEW"),
        (("--map-account", "1=0"), "must be OLD=NEW"),
        (("--map-account", "1=4", "--map-account", "1=5"), "account 1 is mapped to 4 too"),
        (("--force",), "--force: no such flag"),
    ],
)
def test_a_choice_that_can_t_be_applied_is_refused(here: Importing, arguments: tuple[str, ...], said: str) -> None:
    before = here.dump()
    assert here(*arguments) == 78
    assert said in here.err
    assert here.dump() == before


def test_two_old_applications_are_two_sources(here: Importing, old: OldApplication) -> None:
    assert here("--renumber", "--source", "one") == 0
    assert here("--source", "another") == 78
    assert "say --source NAME: one\n" in here.err
    assert here("--source", "one") == 0
    assert here.sums()["tasks"] == (0, 3, 0)
    assert here("--source", "another", "--renumber") == 0
    assert here.sums()["tasks"] == (3, 0, 0)
    here.check()


def test_an_account_added_later_is_imported_later(here: Importing, old: OldApplication) -> None:
    assert here("--renumber") == 0
    old.account(9, "old 9")
    old.task(9, account_id=9)
    assert here() == 0
    assert here.sums()["accounts"] == (1, 3, 0)
    assert here.sql(IDS)[-1] == (9, "old 9")
