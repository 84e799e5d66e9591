"""What people may do who sign in through an OpenID Connect provider, and their names."""

from __future__ import annotations

from typing import Any

import pytest

from console_svc.roles import MAX_NAME, RoleRule, name_of, person_of

pytestmark = pytest.mark.unit
RULES = (
    RoleRule("groups", "press", "reviewer", (2,)),
    RoleRule("groups", "root", "operator", ()),
    RoleRule("groups", "sports", "reviewer", (1, 2)),
    RoleRule("chief", "true", "reviewer", ()),
)


@pytest.mark.parametrize(
    ("claims", "role", "accounts"),
    [
        ({"groups": "press"}, "reviewer", [2]),
        ({"groups": ["sports", "root", "press"]}, "reviewer", [1, 2]),
        ({"groups": ["sports", "root"]}, "operator", None),
        ({"groups": ["press"], "chief": True}, "reviewer", None),
        ({"groups": [["press"], {"press": 1}, None], "chief": 1}, None, None),
        ({"groups": "pressroom"}, None, None),
    ],
)
def test_the_first_rule_that_fits_gives_the_role(claims: Any, role: str | None, accounts: list[int] | None) -> None:
    person = person_of(RULES, {"sub": "1", **claims})
    assert (person and person["role"]) == role
    assert (person and person.get("accounts")) == accounts


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email": "a@b.c", "email_verified": True}, "a@b.c"),
        ({"email": "a@b.c", "email_verified": False, "preferred_username": "a@b.c"}, "a@b.c (1)"),
        ({"email": "a@b.c (2)", "email_verified": True}, "(1)"),
        ({"preferred_username": "an\nna" + "x" * MAX_NAME}, "anna" + "x" * (MAX_NAME - 8) + " (1)"),
    ],
)
def test_nobody_can_choose_the_name_of_another(claims: Any, name: str) -> None:
    assert name_of({"sub": "1", **claims}) == name
