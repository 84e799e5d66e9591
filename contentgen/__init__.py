"""contentgen for other services and for operators: the client, the generated messages, and the command.

    from contentgen import ContentGenerationClient

`v1` holds the messages and stubs of the API, `client` the client, `cli` the operators' command, and `stack` starts the
services on one machine. The services use `v1` of it, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contentgen.client import (
        ContentGenerationClient,
        CreatorCLINotFoundException,
        CreatorException,
        InvalidStateException,
        Refusal,
        ResourceNotFoundException,
        ResumeTokenExpiredException,
        Watch,
        refusal,
    )

__all__ = [
    "ContentGenerationClient",
    "CreatorCLINotFoundException",
    "CreatorException",
    "InvalidStateException",
    "Refusal",
    "ResourceNotFoundException",
    "ResumeTokenExpiredException",
    "Watch",
    "refusal",
]


def __getattr__(name: str) -> Any:
    """Loads the client when it is first asked for: the services import `contentgen.v1`, and need none of it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from contentgen import client

    return getattr(client, name)
