"""Sends messages of channels in sandboxes, beside the deliveries of webhooks; checks channels' addresses."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

from contentgen.sandbox import Sandbox, SandboxError
from scheduler_svc.domain.clock import boottime
from scheduler_svc.domain.webhook import AddressPolicy, DeliveryAttempt, EventType, Response
from scheduler_svc.notifications.apprise_call import PLUGINS
from scheduler_svc.notifications.texts import message
from scheduler_svc.webhooks.loop import Sender

TIMEOUT = 20.0
"""Seconds for a try."""
PROCESSES = 4
"""Tries of one replica at a time; each takes 50 MB. A channel that hangs has one of them."""
MEMORY = 512 * 2**20


class ChannelSender:
    """Each replica has one. Its processes start at the first message, and import apprise there."""

    def __init__(self, webhooks: Sender, policy: AddressPolicy, console: str) -> None:
        """`webhooks` sends what is no message. `console`: the address for links; empty: without."""
        self._webhooks = webhooks
        self._allowed = [str(network) for network in policy.allowed]
        self._console = console
        self._free = asyncio.Semaphore(PROCESSES)
        self._sandbox = Sandbox(
            "scheduler_svc.notifications.apprise_call:call", timeout=TIMEOUT, memory=MEMORY, processes=PROCESSES
        )

    async def send(self, attempt: DeliveryAttempt) -> Response:
        """Tries once; raises nothing. Sends nothing if the claim may end first."""
        if attempt.event_type != EventType.DIGEST:
            return await self._webhooks.send(attempt)
        async with self._free:
            if attempt.time_at(boottime()) + timedelta(seconds=TIMEOUT) > attempt.claim_expire_time:
                return Response(0, "not sent: this scheduler could not begin in time")
            title, body = message(json.loads(attempt.data), self._console)
            try:
                answer = await self._call(attempt.url, title=title, body=body)
            except SandboxError as error:
                return Response(0, str(error))
            return Response(0, answer["error"])

    async def url_problem(self, url: str) -> str | None:
        """Returns why an address is refused, as it completes "url …"; None if it is not."""
        if not url.isprintable() or url.partition("://")[0].lower() not in PLUGINS:
            return f"must begin with one of {', '.join(f'{scheme}://' for scheme in PLUGINS)}"
        try:
            return (await self._call(url))["problem"] or None
        except SandboxError as error:
            return f"can't be checked: {error}"

    async def _call(self, url: str, **message: str) -> dict[str, str]:
        request = {"url": url, "allowed": self._allowed, **message}
        answer: dict[str, str] = json.loads(await self._sandbox.call(json.dumps(request).encode()))
        return answer

    async def close(self) -> None:
        await asyncio.to_thread(self._sandbox.close)
        await self._webhooks.close()
