"""What the CLI of a running attempt prints, for the page of its task: a tail of its own for each page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from console_svc.site import Page, get
from console_svc.web.live import PING_INTERVAL, RETRY_INTERVAL
from console_svc.web.sessions import Session
from contentgen import AttemptOutput, RequestError, Unauthenticated, Unavailable


class TailPage(Page):
    @get("/tasks/{task_id}/tail")
    async def tail(self, request: Request, session: Session, task_id: str) -> Response:
        """Streams server-sent events: HTML to append, each with the token after which a browser goes on."""
        headers = {"x-accel-buffering": "no"}  # by a proxy
        events = self._events(request, session, task_id)
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _events(self, request: Request, session: Session, task_id: str) -> AsyncIterator[str]:
        """Yields the events. The last one is `ended`, unless the session has ended or no scheduler answers."""
        token = request.headers.get("last-event-id", "")
        outputs = session.client.tail_attempt(task_id, token, patience=RETRY_INTERVAL)
        session.when_ended.add(outputs.close)
        try:
            async with outputs:
                reading = asyncio.ensure_future(anext(outputs, None))
                while self._site.sessions.seconds_left(session) > 0:
                    await asyncio.wait([reading], timeout=PING_INTERVAL)
                    if not reading.done():
                        yield ": still here\n\n"
                    elif (output := reading.result()) is None:
                        break
                    else:
                        yield self._event(request, output)
                        reading = asyncio.ensure_future(anext(outputs, None))
        except (Unauthenticated, Unavailable):
            return
        except RequestError:
            pass  # it does not run any more
        finally:
            session.when_ended.discard(outputs.close)
        yield "event: ended\ndata:\n\n"

    def _event(self, request: Request, output: AttemptOutput) -> str:
        event = f"id: {output['resume_token']}\n"
        if output["output"] or output["left_out_bytes"] or output["worker_silent"]:
            html = self._site.renderer.text(request, "tasks/tail.html", {"output": output})
            event += "".join(f"data: {line}\n" for line in html.replace("\r", "").split("\n"))
        return event + "\n"
