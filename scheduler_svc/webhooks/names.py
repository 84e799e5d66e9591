"""Resolves hosts' names without threads: however many name servers never answer, all other names resolve."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


class Names:
    """One a replica, on its event loop. It reads the system's hosts file and name servers when it is first used."""

    def __init__(self, nameservers: Sequence[str] = ()) -> None:
        """`nameservers`: to be asked instead of the system's, as `address:port`."""
        self._nameservers = nameservers

    @cached_property
    def resolver(self) -> aiohttp.AsyncResolver:
        import aiohttp  # here, since most replicas never need its 20 MB

        if self._nameservers:
            return aiohttp.AsyncResolver(nameservers=list(self._nameservers))
        return aiohttp.AsyncResolver()

    async def addresses(self, host: str) -> list[str]:
        """The addresses of a host, which may be one itself. Raises OSError if its name does not resolve."""
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            return [found["host"] for found in await self.resolver.resolve(host, family=socket.AF_UNSPEC)]

    async def close(self) -> None:
        if "resolver" in self.__dict__:
            await self.resolver.close()
