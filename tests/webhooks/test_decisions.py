"""When a delivery is tried again, where it may go, and how many are tried at once."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_svc.domain.webhook import (
    FIRST_CONCURRENT_TRIES,
    MAX_CONCURRENT_TRIES,
    MAX_RETRY_DELAY,
    RETRY_FOR,
    AddressPolicy,
    Claim,
    DeliveryAttempt,
    Webhook,
    retry_delay,
    url_problem,
)
from scheduler_svc.webhooks import sender
from scheduler_svc.webhooks.loop import WebhookTries
from scheduler_svc.webhooks.work import WithSecret

pytestmark = pytest.mark.unit


# How long a delivery waits for its next try, and that its secrets show nowhere.


JITTER = st.floats(0, 1, exclude_max=True)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@given(JITTER)
def test_the_first_retry_comes_within_ten_seconds(jitter: float) -> None:
    assert 2 < retry_delay(1, jitter) < 10


@given(st.integers(1, 1_000_000), JITTER)
def test_waits_grow_up_to_a_bound(attempt_count: int, jitter: float) -> None:
    assert retry_delay(attempt_count, 0.5) <= retry_delay(attempt_count + 1, 0.5) <= MAX_RETRY_DELAY
    assert 0.8 <= retry_delay(attempt_count, jitter) / retry_delay(attempt_count, 0.5) <= 1.2


def test_three_days_have_a_bounded_number_of_tries() -> None:
    passed, tries = 0.0, 1
    while (passed := passed + retry_delay(tries, 0.5)) < RETRY_FOR.total_seconds():
        tries += 1
    assert 15 < tries < 25


def test_a_try_waits_ten_seconds_for_an_answer() -> None:
    """As webhook_service.proto tells."""
    assert sender.TIMEOUT == 10


def test_secrets_are_in_no_text() -> None:
    webhook = Webhook(1, 0, "https://news.example/", ("task.ended",), True, "", NOW, None)
    attempt = DeliveryAttempt(
        Claim(NOW, 0), 1, 1, 1, "task.ended", 1, NOW, NOW, "msg_1", "{}", webhook.url, ("whsec_secret",)
    )
    for holder in (attempt, WithSecret(webhook, "whsec_secret")):
        assert "whsec_secret" not in f"{holder} {holder!r} {[holder]}"


# Which addresses a webhook may have.


PUBLIC = AddressPolicy()
ALLOWED = AddressPolicy((ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("::1")))


NOT_PUBLIC = """
    127.0.0.1 127.8.9.10 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 100.100.100.200
    168.63.129.16 192.0.0.192 192.0.2.1 198.18.0.1 224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 ::ffff:127.0.0.1
    ::ffff:169.254.169.254 64:ff9b::10.0.0.1 64:ff9b::8.8.8.8 64:ff9b:1::1 100::1 1000::1 4000::1 5f00::1 fec0::1
    2001:db8::1 2001::1 2002:a00:1:: fe80::1 fe80::1%eth0 fd00:ec2::254 ff02::1
"""


@pytest.mark.parametrize("address", NOT_PUBLIC.split())
def test_what_is_not_public_is_refused(address: str) -> None:
    for secure in (True, False):
        refusal = PUBLIC.refusal(address, secure=secure)
        assert refusal
        assert address not in refusal


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "2002:808:808::"])
def test_public_addresses_are_for_https(address: str) -> None:
    assert PUBLIC.refusal(address, secure=True) is None
    assert "use https" in str(PUBLIC.refusal(address, secure=False))


@pytest.mark.parametrize(
    ("address", "allowed"), [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("::1", True), ("10.2.0.1", False)]
)
def test_networks_that_are_allowed_take_http_too(address: str, allowed: bool) -> None:
    for secure in (True, False):
        assert (ALLOWED.refusal(address, secure=secure) is None) is allowed


def test_a_name_is_refused_only_if_all_of_its_addresses_are() -> None:
    assert PUBLIC.refusal_of_all(["10.0.0.1", "8.8.8.8"], secure=True) is None
    assert "not public" in str(PUBLIC.refusal_of_all(["10.0.0.1", "::1"], secure=True))
    assert PUBLIC.refusal_of_all([], secure=True) is None


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://例.example/", "ASCII"),
        ("https://a.example/\n", "white space"),
        ("https://a.example/a b", "white space"),
        ("file:///etc/passwd", "https://host/path"),
        ("https:///path", "https://host/path"),
        ("//a.example/", "https://host/path"),
        ("https://[::1/", "URL"),
        ("https://a.example:port/", "URL"),
        ("https://user@a.example/", "no user"),
        ("https://a.example/#part", "fragment"),
    ],
)
def test_a_malformed_url_is_refused(url: str, problem: str) -> None:
    assert problem in str(url_problem(url))


@pytest.mark.parametrize("url", ["https://a.example", "HTTPS://a.example:8443/b?c=d%20e", "http://[::1]:80/"])
def test_a_url_is_accepted(url: str) -> None:
    assert url_problem(url) is None


# How many tries webhooks may begin: whatever others have under way, places are left for the next account.


WEBHOOKS = 20


def attempt(account_id: int, number: int) -> DeliveryAttempt:
    webhook_id = account_id * WEBHOOKS + number
    return DeliveryAttempt(Claim(NOW, 0), 1, webhook_id, account_id, "task.ended", 1, NOW, NOW, "msg_1", "{}", "", ())


def begin_all(tries: WebhookTries, accounts: range) -> None:
    """Begins whatever the webhooks of these accounts may begin, in rounds, as if none of them ever ended."""
    webhooks = [attempt(account_id, number) for account_id in accounts for number in range(WEBHOOKS)]
    chance = Random(1)
    while any(tries.free().values()):
        chance.shuffle(webhooks)
        free = tries.free()
        for delivery in [hook for hook in webhooks for _ in range(free[hook.webhook_id])][: tries.limit]:
            tries.begin(delivery)


@pytest.mark.parametrize(("accounts", "free"), [(1, 800), (5, 500), (50, 16)])
def test_however_many_accounts_have_slow_receivers_another_one_finds_places(accounts: int, free: int) -> None:
    tries = WebhookTries()
    steady = [attempt(account_id, number) for account_id in range(accounts) for number in range(WEBHOOKS)]
    for delivery in steady * 2:  # each has succeeded: it may have the most
        tries.begin(delivery)
        tries.end(delivery)
        tries.record(delivery, delivered=True)
    assert set(tries.free().values()) == {MAX_CONCURRENT_TRIES}
    begin_all(tries, range(accounts))
    assert 8 * tries.limit >= free
    newcomer = attempt(accounts, 0)
    tries.begin(newcomer)
    assert tries.free()[newcomer.webhook_id] == FIRST_CONCURRENT_TRIES - 1


def test_a_webhook_may_begin_more_as_it_succeeds_and_one_while_it_fails() -> None:
    tries, delivery = WebhookTries(), attempt(1, 1)
    for delivered, free in ((True, 8), (True, 16), (True, 16), (False, 1), (True, 2)):
        tries.begin(delivery)
        tries.end(delivery)
        tries.record(delivery, delivered=delivered)
        assert tries.free()[delivery.webhook_id] == free
