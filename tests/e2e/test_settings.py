"""What the services say of their environment at start."""

from __future__ import annotations

from tests.harness.service import START_LIMIT
from tests.harness.stack import EMBEDDED, Stack
from tests.harness.waiting import wait_until

SECRET = "zebra"


def test_variables_that_are_probably_mistakes_are_named_at_start(stack: Stack) -> None:
    scheduler = stack.scheduler(database_url=EMBEDDED, CONTENTGEN_LISTN=SECRET).start()
    worker = stack.worker("worker", scheduler, CONTENTGEN_SLOT=SECRET).start()
    assert [event["event"] for event in scheduler.events("settings")] == [
        "DATABASE_URL is empty, which counts as unset: an embedded PostgreSQL is used",
        "CONTENTGEN_LISTN is no setting, and is ignored: did you mean CONTENTGEN_LISTEN?",
    ]
    assert [event["event"] for event in worker.events("settings.notice")] == [
        "CONTENTGEN_SLOT is no setting, and is ignored: did you mean CONTENTGEN_SLOTS?"
    ]
    assert SECRET not in scheduler.tail() + worker.tail()


def test_a_scheduler_that_requires_a_database_url_does_not_make_a_database_of_its_own(stack: Stack) -> None:
    scheduler = stack.scheduler(database_url=EMBEDDED, CONTENTGEN_REQUIRE_DATABASE_URL="on").launch()
    wait_until(lambda: not scheduler.alive, within=START_LIMIT, what="it has ended")
    assert scheduler.exit_status == 78
    assert "DATABASE_URL or DATABASE_URL_FILE must be set" in scheduler.tail()
    assert not scheduler.data_dir.exists()
