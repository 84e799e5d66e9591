"""Which addresses a webhook may have."""

from __future__ import annotations

import ipaddress

import pytest

from scheduler_svc.domain.webhook_address import AddressPolicy, url_problem

PUBLIC = AddressPolicy()
ALLOWED = AddressPolicy((ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("::1")))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",  # noqa: S104 - what connects to the machine itself
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::1",
        "100::1",
        "1000::1",
        "4000::1",
        "5f00::1",
        "fec0::1",
        "2001:db8::1",
        "2001::1",
        "2002:a00:1::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "ff02::1",
    ],
)
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
