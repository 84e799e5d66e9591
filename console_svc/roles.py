"""What people who sign in by OpenID Connect may do: name, role and accounts from the claims of their provider."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator

from contentgen.client.target import Person

ROLES = ("client", "operator", "publisher", "reviewer", "viewer")
MAX_NAME = 200
"""Characters of a name that the schedulers accept."""
_RULE = re.compile(rf"([^=\s]+)\s*=\s*(\S.*):({'|'.join(ROLES)})(?:@([1-9]\d{{0,17}}(?:,[1-9]\d{{0,17}})*))?", re.ASCII)
_EMAIL = re.compile(r"[^\s()]+@[^\s()]+")


class RoleRule(NamedTuple):
    """Whoever has `value` as, or among, the `claim` gets the role. `accounts`: empty for all."""

    claim: str
    value: str
    role: str
    accounts: tuple[int, ...]

    def fits(self, claims: Mapping[str, Any]) -> bool:
        claim = claims.get(self.claim)
        values = claim if isinstance(claim, list) else [claim]
        return self.value in {str(value).lower() if isinstance(value, bool) else str(value) for value in values}


def _read(value: object) -> object:
    if not isinstance(value, str):
        return value
    matches = [_RULE.fullmatch(rule.strip()) for rule in value.split(";") if rule.strip()]
    if not matches or None in matches:
        raise ValueError(
            f"must be CLAIM=VALUE:ROLE or CLAIM=VALUE:ROLE@ACCOUNT,ACCOUNT, separated by semicolons, with the roles"
            f" {', '.join(ROLES)}, such as groups=editors:reviewer@1,2"
        )
    return tuple(
        RoleRule(match[1], match[2], match[3], tuple(map(int, match[4].split(","))) if match[4] else ())
        for match in matches
        if match
    )


Roles = Annotated[tuple[RoleRule, ...], BeforeValidator(_read)]


def person_of(rules: Sequence[RoleRule], claims: Mapping[str, Any]) -> Person | None:
    """Returns who has signed in; None if no rule gives a role.

    The first rule that fits gives the role; others that fit and give the same role add their accounts.
    """
    fitting = [rule for rule in rules if rule.fits(claims)]
    if not fitting:
        return None
    same_role = [rule.accounts for rule in fitting if rule.role == fitting[0].role]
    person = Person(name=name_of(claims), role=fitting[0].role)
    if all(same_role):
        person["accounts"] = sorted(set(chain.from_iterable(same_role)))
    return person


def name_of(claims: Mapping[str, Any]) -> str:
    """Returns a name that no other user of the provider can choose: what users choose is told apart by their `sub`."""
    email = str(claims.get("email", ""))
    if str(claims.get("email_verified")).lower() == "true" and _EMAIL.fullmatch(email):
        return email
    subject = f"({claims['sub']})"
    chosen = "".join(filter(str.isprintable, str(claims.get("preferred_username", ""))))
    return f"{chosen[: max(MAX_NAME - len(subject) - 1, 0)]} {subject}".strip()
