"""The OpenID Connect provider: where it signs people in, and what it says about them.

The random text of one cookie binds a sign-in to its browser: state, nonce and PKCE verifier are derived from it.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import structlog

from console_svc.config import ConsoleSettings, is_safe
from console_svc.web.language import text

if TYPE_CHECKING:
    from authlib.integrations.httpx_client import AsyncOAuth2Client

TIMEOUT = 10.0
"""Seconds for an answer of the provider."""
LEEWAY = 60
"""Seconds by which its clock and ours may differ."""
FRESH = 300.0
"""Seconds for which its addresses are not asked for again."""
ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA")
"""Of signatures: none that the client's secret could make."""
AWAY = text("The sign-in service of your organization does not answer. Try again in a moment.")
REFUSED = text("The sign-in service of your organization has not signed you in. Try again.")
Claims = Mapping[str, Any]
T = TypeVar("T")

_log = structlog.get_logger(__name__)


class NotSignedIn(Exception):
    """`outcome` is for the metric, `message` for the page."""

    def __init__(self, outcome: str, message: str, status: int) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.message = message
        self.status = status


def state_of(secret: str, back: str) -> str:
    """Returns the state of a sign-in that leads to the page `back`."""
    return _derived(secret, f"state {back}") + back


def back_of(secret: str, state: str) -> str | None:
    """Returns the page that a sign-in leads to; None if the state is not of this browser."""
    back = state[len(_derived("", "")) :]
    return back if secret and hmac.compare_digest(state_of(secret, back).encode(), state.encode()) else None


def _derived(secret: str, label: str) -> str:
    digest = hmac.digest(secret.encode(), label.encode(), hashlib.sha256)
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


class Provider:
    def __init__(self, settings: ConsoleSettings) -> None:
        self._settings = settings
        self._known: dict[str, Any] = {}
        self._known_until = 0.0

    async def entrance(self, redirect: str, secret: str, back: str) -> str:
        """Returns where a browser signs in. Raises NotSignedIn."""
        return await self._asked(self._entrance(redirect, secret, back))

    async def claims(self, redirect: str, secret: str, code: str) -> tuple[Claims, str]:
        """Returns what the provider says about whoever brings this code, and its token. Raises NotSignedIn."""
        return await self._asked(self._claims(redirect, secret, code))

    def exit(self, id_token: str, back: str) -> str:
        """Returns where a browser signs out; empty if the provider has no such page."""
        page = self._known.get("end_session_endpoint")
        parameters = {"id_token_hint": id_token, "client_id": self._settings.oidc_client_id}
        return f"{page}?{urlencode({**parameters, 'post_logout_redirect_uri': back})}" if page else ""

    async def _asked(self, answer: Awaitable[T]) -> T:
        """Awaits what asks the provider. Raises NotSignedIn for whatever else that raises."""
        import httpx2
        from authlib.common.errors import AuthlibBaseError
        from joserfc.errors import JoseError

        try:
            return await answer
        except httpx2.HTTPError as error:
            _log.warning("the provider does not answer", action="oidc.away", reason=repr(error))
            raise NotSignedIn("provider_away", AWAY, 503) from error
        except (AuthlibBaseError, JoseError, ValueError, TypeError, KeyError) as error:
            _log.warning("the provider's answer is refused", action="oidc.refused", reason=repr(error)[:500])
            raise NotSignedIn("provider_refused", REFUSED, 403) from error

    async def _entrance(self, redirect: str, secret: str, back: str) -> str:
        async with self._client(redirect) as client:
            await self._discover(client)
            address, _ = client.create_authorization_url(
                self._known["authorization_endpoint"],
                state=state_of(secret, back),
                nonce=_derived(secret, "nonce"),
                code_verifier=_derived(secret, "verifier"),
            )
            return str(address)

    async def _claims(self, redirect: str, secret: str, code: str) -> tuple[Claims, str]:
        async with self._client(redirect) as client:
            await self._discover(client)
            tokens = await client.fetch_token(
                self._known["token_endpoint"],
                grant_type="authorization_code",
                code=code,
                code_verifier=_derived(secret, "verifier"),
            )
            keys = await _json(client, self._known["jwks_uri"])
            claims = self._verified(tokens, keys, _derived(secret, "nonce"))
            return await self._completed(client, claims), str(tokens["id_token"])

    def _client(self, redirect: str) -> AsyncOAuth2Client:
        from authlib.integrations.httpx_client import AsyncOAuth2Client

        secret_file = self._settings.oidc_client_secret_file
        ways = self._known.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return AsyncOAuth2Client(
            self._settings.oidc_client_id,
            secret_file.read_text().strip() if secret_file else None,
            token_endpoint_auth_method="client_secret_basic" if "client_secret_basic" in ways else "client_secret_post",
            scope="openid profile email",
            redirect_uri=redirect,
            code_challenge_method="S256",
            timeout=TIMEOUT,
        )

    async def _discover(self, client: AsyncOAuth2Client) -> None:
        """Asks the provider for its addresses, unless that was done just now. Raises ValueError for another's."""
        if time.monotonic() < self._known_until:
            return
        issuer = self._settings.oidc_issuer or ""
        known = await _json(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if known["issuer"] != issuer:
            raise ValueError(f"the provider at {issuer} says that it is {known['issuer']}")
        for name in ENDPOINTS:
            if name in known and not is_safe(known[name]):
                raise ValueError(f"{name} must be https://")
        self._known, self._known_until = known, time.monotonic() + FRESH

    def _verified(self, tokens: Mapping[str, Any], keys: Any, nonce: str) -> Claims:
        """Returns the claims of an ID token. Raises JoseError unless it is the provider's, for us, for this sign-in."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.jwk import KeySet
        from joserfc.jws import JWSRegistry

        client_id = self._settings.oidc_client_id
        registry = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
        token = jwt.decode(tokens["id_token"], KeySet.import_key_set(keys), registry=registry)
        wanted = {"iss": {"value": self._settings.oidc_issuer}, "aud": {"value": client_id}}
        parameters = {"nonce": nonce, "client_id": client_id, "access_token": tokens["access_token"]}
        claims = CodeIDToken(token.claims, token.header, wanted, parameters)
        claims.validate(leeway=LEEWAY)
        return dict(claims)

    async def _completed(self, client: AsyncOAuth2Client, claims: Claims) -> Claims:
        """Asks for claims that are needed and missing. Raises ValueError for those of somebody else."""
        needed = {"email", "email_verified", *(rule.claim for rule in self._settings.oidc_roles or ())}
        if needed <= claims.keys() or "userinfo_endpoint" not in self._known:
            return claims
        more = (await client.get(self._known["userinfo_endpoint"])).raise_for_status().json()
        if more["sub"] != claims["sub"]:
            raise ValueError("the claims are somebody else's")
        return {**more, **claims}


async def _json(client: AsyncOAuth2Client, address: str) -> Any:
    return (await client.request("GET", address, withhold_token=True)).raise_for_status().json()
