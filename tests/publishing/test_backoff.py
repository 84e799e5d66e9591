"""The wait before the next attempt to publish."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler_svc.domain.publishing import MAX_BACKOFF, PublishPolicy, PublishReport, publish_report

pytestmark = pytest.mark.unit

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (PublishPolicy(), {1: MINUTE, 2: 2 * MINUTE, 3: None, 4: None}),
        (PublishPolicy(1_000), {1: MINUTE, 6: 32 * MINUTE, 7: 60 * MINUTE, 8: 60 * MINUTE, 999: 60 * MINUTE}),
        (PublishPolicy(1), {1: None}),
        (PublishPolicy(3, MAX_BACKOFF), {2: MAX_BACKOFF}),
    ],
    ids=["by default", "doubled up to an hour", "a single attempt", "the longest backoff"],
)
def test_the_wait_after_so_many_failures(policy: PublishPolicy, waits: dict[int, timedelta | None]) -> None:
    assert {failures: policy.wait_after(failures) for failures in waits} == waits


def test_a_report_has_only_what_its_outcome_needs() -> None:
    assert publish_report(True, "an error", "a URL") == PublishReport(True, "", "a URL")
    assert publish_report(False, "an error", "a URL") == PublishReport(False, "an error", "")
