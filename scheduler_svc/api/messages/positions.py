"""Tokens that clients bring back: where a list or a watch goes on, and of which selection it was. Part of `api`.

A token is opaque to clients but not secret: a forged position shows nothing that the list or watch does not show.
"""

from __future__ import annotations

import base64
import hashlib
import json


def fingerprint(selection: object) -> str:
    """A short text for a selection, in types that JSON has: a token is good for the selection that it was made for."""
    return hashlib.blake2b(json.dumps(selection).encode(), digest_size=9).hexdigest()


def write(*parts: object) -> str:
    """The token with these parts, in types that JSON has."""
    return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode()


def read(token: str, *, parts: int, limit: int) -> list[object] | None:
    """The parts of a token. Returns None if it has more than `limit` characters, or is no token of so many parts."""
    if len(token) > limit:
        return None
    try:
        found = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    except (ValueError, RecursionError):  # RecursionError: it is nested a thousand deep
        return None
    return found if isinstance(found, list) and len(found) == parts else None
