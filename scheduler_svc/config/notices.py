"""Warnings at start about the environment: variables that are probably mistakes. Part of `scheduler_svc.config`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from contentgen import variables


def notices(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields a line for each variable that is probably a mistake."""
    yield from empty_url(environ)
    yield from variables.notices(environ)


def empty_url(environ: Mapping[str, str]) -> Iterator[str]:
    if environ.get("DATABASE_URL") == "" and not environ.get("DATABASE_URL_FILE"):
        yield "DATABASE_URL is empty, which counts as unset: an embedded PostgreSQL is used"
