"""The wait before the next attempt to publish."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler_svc.domain.publishing import MAX_BACKOFF, PublishPolicy, PublishReport, publish_report

pytestmark = pytest.mark.unit

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("failures", "wait"), [(1, MINUTE), (2, 2 * MINUTE), (3, None), (4, None)])
def test_by_default_the_third_failure_is_the_last(failures: int, wait: timedelta | None) -> None:
    assert PublishPolicy().wait_after(failures) == wait


@pytest.mark.parametrize(("failures", "minutes"), [(1, 1), (6, 32), (7, 60), (8, 60), (999, 60)])
def test_the_wait_doubles_up_to_an_hour(failures: int, minutes: int) -> None:
    assert PublishPolicy(1_000).wait_after(failures) == minutes * MINUTE


def test_a_single_attempt_has_no_wait() -> None:
    assert PublishPolicy(1).wait_after(1) is None


def test_the_longest_backoff_is_the_longest_wait() -> None:
    assert PublishPolicy(3, MAX_BACKOFF).wait_after(2) == MAX_BACKOFF


def test_a_report_has_only_what_its_outcome_needs() -> None:
    assert publish_report(True, "an error", "a URL") == PublishReport(True, "", "a URL")
    assert publish_report(False, "an error", "a URL") == PublishReport(False, "an error", "")
