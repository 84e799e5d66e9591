"""Renders articles and compares them, in a sandbox: a text that takes too much ends only its process."""

from __future__ import annotations

import json
from collections.abc import Mapping

import structlog

from console_svc.articles.texts import Picture, Pictures
from contentgen.sandbox import Sandbox, SandboxError

PROCESSES = 2
TIMEOUT = 4.0
"""Seconds that a text may take, the wait for a process not counted."""
MEMORY = 512 * 2**20
MAX_TEXT = 200_000
"""Characters that are worked on: a longer text is no article, and browsers take long for it, too."""

_log = structlog.get_logger(__name__)


class ArticleSandbox:
    def __init__(self) -> None:
        work = "console_svc.articles.safe_html:work"
        self.sandbox = Sandbox(work, timeout=TIMEOUT, memory=MEMORY, processes=PROCESSES)

    async def markdown(self, text: str, pictures: Pictures) -> str | None:
        """Returns the safe HTML of Markdown; None if it takes too much time or memory."""
        return await self._work("markdown", text, assets=pictures.assets)

    async def html(self, text: str, pictures: Pictures) -> str | None:
        """Returns HTML made safe; None if it takes too much time or memory."""
        return await self._work("html", text, assets=pictures.assets)

    async def difference(self, old: str, text: str) -> str | None:
        """Returns safe HTML of what has changed, empty if nothing has; None if it takes too much time or memory."""
        return "" if old == text else await self._work("difference", text, old=old)

    async def _work(
        self, work: str, text: str, *, assets: Mapping[str, Picture] | None = None, old: str = ""
    ) -> str | None:
        if len(text) + len(old) > MAX_TEXT:
            return None
        order = json.dumps({"work": work, "text": text, "assets": assets, "old": old})
        try:
            return (await self.sandbox.call(order.encode())).decode()
        except SandboxError as error:
            _log.warning("an article takes too much", action="article", work=work, error=str(error))
            return None

    def close(self) -> None:
        self.sandbox.close()
