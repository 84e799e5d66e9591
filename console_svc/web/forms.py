"""What somebody has typed into a form."""

from __future__ import annotations

from starlette.datastructures import FormData


def text_of(form: FormData, name: str) -> str:
    """The text of a field, without the spaces around it; empty if it is missing, or a file."""
    given = form.get(name)
    return given.strip() if isinstance(given, str) else ""
