"""The tokens: those of the file, without those that were revoked, which all schedulers read from the database."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from scheduler_svc.config.tokens import TokenLine
from scheduler_svc.domain.account import ANONYMOUS
from scheduler_svc.domain.errors import NotFound
from scheduler_svc.domain.system import Revocation, Token
from scheduler_svc.runtime.calls import Calls

REVOKED_INTERVAL = 2.0
"""Seconds until other schedulers notice that a token was revoked."""


@dataclass
class TokenRegister:
    """Lives on the event loop."""

    calls: Calls
    use: Callable[[Sequence[TokenLine]], None]
    """Accepts these tokens from then on, and no others."""
    _lines: Sequence[TokenLine] = ()
    _revoked: Mapping[str, Revocation] = field(default_factory=dict)

    def load(self, lines: Sequence[TokenLine]) -> None:
        self._lines = lines
        self.use([line for line in lines if line.sha256 not in self._revoked])

    async def run_once(self) -> float:
        """Reads what was revoked; returns the seconds until the next time."""
        revoked = await self.calls.run(lambda tx: tx.system.revoked_tokens())
        if revoked != self._revoked:
            self._revoked = revoked
            self.load(self._lines)
        return REVOKED_INTERVAL

    async def revoke(self, name: str, revoked_by: str) -> Token:
        """Revokes the tokens of a name. Raises NotFound."""
        hashes = [line.sha256 for line in self._lines if line.name == name]
        if not hashes:
            raise NotFound("token", name)
        await self.calls.run(lambda tx: tx.system.revoke_tokens(hashes, revoked_by or ANONYMOUS))
        await self.run_once()
        (token,) = self.list(lambda line: line.name == name)
        return token

    def list(self, wanted: Callable[[TokenLine], bool]) -> Sequence[Token]:
        lines: dict[str, list[TokenLine]] = {}
        for line in sorted(filter(wanted, self._lines), key=attrgetter("name")):
            lines.setdefault(line.name, []).append(line)
        return [self._token(of_name) for of_name in lines.values()]

    def _token(self, lines: Sequence[TokenLine]) -> Token:
        line, *_ = lines
        revoked = [self._revoked[line.sha256] for line in lines if line.sha256 in self._revoked]
        last = max(revoked, default=Revocation())
        return Token(line.name, line.role, line.accounts, line.delegates, len(lines) - len(revoked), *last)
