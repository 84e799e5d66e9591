"""contentgen for other services and for operators: the client, the generated messages, and the command.

    from contentgen import ContentGenerationClient

`v1` holds the messages and stubs of the API, `client` the client, `doctor` what it finds wrong with a deployment, `cli`
the operators' command, and `stack` starts the services on one machine. The services use `v1` of it, `service`,
which they have in common, `submit_fields`, `variables`, and `sandbox` where they work on untrusted bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contentgen.client import *  # noqa: F403 - the names that it exports
else:

    def __getattr__(name: str) -> Any:
        """Loads the client when one of its names is first asked for: the services import `contentgen.v1` alone."""
        if name[0].isupper():  # as all names of the client are, and no module's
            from contentgen import client

            if hasattr(client, name):
                return getattr(client, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
