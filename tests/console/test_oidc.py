"""Signing in through an OpenID Connect provider, which is a process of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.console.conftest import Place, Shared, open_console
from tests.harness.console import Console, Visitor
from tests.harness.openid_provider import OpenIdProvider

pytestmark = pytest.mark.browser
ROLES = "groups=admins:operator; groups=urn:press:reviewer@1; groups=more:reviewer@2"
NOT_SIGNED_IN = "The sign-in service of your organization has not signed you in."
STALE = "This sign-in began in another browser, or too long ago."


def settings_of(provider: OpenIdProvider, folder: Path) -> dict[str, str]:
    secret, token = folder / "secret", folder / "console-token"
    secret.write_text("console-secret\n")
    token.write_text("console-token\n")
    return {
        "CONTENTGEN_OIDC_ISSUER": provider.issuer,
        "CONTENTGEN_OIDC_CLIENT_ID": "console",
        "CONTENTGEN_OIDC_CLIENT_SECRET_FILE": str(secret),
        "CONTENTGEN_OIDC_TOKEN_FILE": str(token),
        "CONTENTGEN_OIDC_ROLES": ROLES,
    }


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    with OpenIdProvider(tmp_path_factory.mktemp("provider")) as provider:
        provider.ready()
        provider.knows("anna", email="anna@example.com", email_verified=True, groups=["staff", "urn:press"])
        provider.knows("eve", email="anna@example.com", preferred_username="anna@example.com", groups="admins")
        yield provider


@pytest.fixture(scope="module")
def place(shared: Shared, provider: OpenIdProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("console")
    with Console(folder, shared.place.scheduler.target, **settings_of(provider, folder)).start() as console:
        yield replace(shared.place, console=console)


def begun(place: Place) -> tuple[Visitor, str]:
    """Returns somebody who has followed the link, and where that has led: the provider's form."""
    visitor = Visitor(place.console.url)
    assert "Sign in through your organization" in visitor.get("/tasks").text
    form = visitor.get("/login/oidc?next=%2Ftasks%3Fstatus%3Dfailed").says("Authorize Client")
    return visitor, form.url


def signed_in(place: Place, sub: str) -> Visitor:
    visitor, form = begun(place)
    assert visitor.sign_in_at(form, sub).url == f"{place.console.url}/tasks?status=failed"
    return visitor


def test_a_browser_signs_in_and_out_there(place: Place, provider: OpenIdProvider, chromium: Browser) -> None:
    page = chromium.new_page(base_url=place.console.url, locale="en-GB")
    page.route("https://**", lambda route: route.abort())  # the provider's pages have a style from elsewhere
    page.goto("/tasks?status=failed")
    page.get_by_role("link", name="Sign in through your organization").click()
    page.get_by_placeholder("sub").fill("anna")
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url("/tasks?status=failed")
    expect(page.get_by_text("anna@example.com · reviewer")).to_be_visible()
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page).to_have_url(re.compile(f"{provider.issuer}/oauth2/end_session"))
    page.get_by_role("button", name="End session").click()
    page.wait_for_url("/login*")
    page.goto("/tasks")
    page.wait_for_url("/login?next=%2Ftasks")
    page.close()


def test_each_person_has_sessions_rights_and_a_name_of_their_own(place: Place, provider: OpenIdProvider) -> None:
    anna, anna_elsewhere, eve = signed_in(place, "anna"), signed_in(place, "anna"), signed_in(place, "eve")
    anna.get("/").says("anna@example.com</span> · reviewer")
    eve.get("/").says("anna@example.com (eve)</span> · operator")
    task_id = place.submit("to cancel", schedule_time="2030-01-01T00:00Z")
    anna.post(f"/tasks/{task_id}/cancel", {}).says(status=403)
    eve.post(f"/tasks/{task_id}/cancel", {}).says(status=200)
    events = [*place.client.iter_audit_events(method="TaskService/CancelTask")]
    assert [event["actor"] for event in events[:2]] == ["anna@example.com (eve)", "anna@example.com"]
    eve.post("/logout", {"everywhere": "yes"})
    assert anna.get("/tasks").url == f"{place.console.url}/tasks"
    provider.knows("anna", email="anna@example.com", email_verified=True, groups=["more"])
    signed_in(place, "anna").get("/").says("anna@example.com")
    anna_elsewhere.get("/tasks").says("Your session has ended: your role or accounts have changed.")


@pytest.mark.parametrize("claims", [{"nonce": "other"}, {"aud": "other"}, {"iss": "https://other.example"}, {"exp": 1}])
def test_an_id_token_that_is_not_for_this_sign_in_is_refused(
    place: Place, provider: OpenIdProvider, claims: dict[str, Any]
) -> None:
    provider.knows("mallory", groups=["admins"], **claims)
    visitor, form = begun(place)
    visitor.sign_in_at(form, "mallory").says(NOT_SIGNED_IN, 'action="/login"', status=403)
    assert visitor.get("/tasks").url.startswith(f"{place.console.url}/login")


def test_a_sign_in_belongs_to_the_browser_that_began_it(place: Place) -> None:
    _, form = begun(place)
    stranger = Visitor(place.console.url)
    stranger.sign_in_at(form, "anna").says(STALE, status=400)
    visitor, form = begun(place)
    visitor.sign_in_at(form.replace("%2Ftasks", "%2Fpool"), "anna").says(STALE, status=400)


def test_whoever_has_no_role_is_told_so(place: Place, provider: OpenIdProvider) -> None:
    provider.knows("guest", email="guest@example.com", email_verified=True, groups=["urn:press:reviewer"])
    visitor, form = begun(place)
    visitor.sign_in_at(form, "guest").says(
        "You are signed in as guest@example.com, but no role is mapped to you.", status=403
    )
    visitor.get("/language/zh-CN")
    form = visitor.get("/login/oidc").url
    visitor.sign_in_at(form, "guest").says("您已以 guest@example.com 的身份登录，但尚未分配角色", status=403)
    assert visitor.get("/tasks").url.startswith(f"{place.console.url}/login")


def test_a_provider_that_is_away_is_asked_again_and_schedulers_must_accept_persons(tmp_path: Path) -> None:
    with OpenIdProvider(tmp_path) as provider, open_console(tmp_path, settings_of(provider, tmp_path)) as console:
        provider.kill()
        visitor = Visitor(console.url)
        visitor.get("/login/oidc").says("does not answer. Try again in a moment.", status=503)
        provider.launch()
        provider.ready()
        provider.knows("anna", groups=["admins"])
        answer = visitor.sign_in_at(visitor.get("/login/oidc").url, "anna")
        answer.says("The schedulers do not accept that this console acts for persons.", status=403)
