"""contentgen for other services and for operators: the client, the generated messages, and the command.

    from contentgen import ContentGenerationClient

`__version__` is its version: between releases, with the commit.
`v1` holds the messages and stubs of the API, `client` the client, `doctor` what it finds wrong with a deployment, `cli`
the operators' command, and `stack` starts the services on one machine. The services use `v1` of it, `service`,
which they have in common, `account_fields`, `submit_fields`, `variables`, and `sandbox` where they work on untrusted
bytes.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, whose import takes longer than the rest of this

if TYPE_CHECKING:
    from contentgen.client import *  # noqa: F403 - the names that it exports

    __version__: str
else:

    def __getattr__(name: str) -> object:
        """Loads the client when one of its names is first asked for: the services import `contentgen.v1` alone."""
        if name == "__version__":
            from contentgen.version import own_version

            return own_version()
        if name == "__all__" or name[0].isupper():  # as all names of the client are, and no module's
            from contentgen import client

            if name == "__all__":
                return [name for name in vars(client) if name[0].isupper()]
            if hasattr(client, name):
                return getattr(client, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return [*globals(), "__version__", *__getattr__("__all__")]
