"""The list of contents, with its filter in the address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from console_svc.site import BAD, Link, Site
from console_svc.web.forms import typed_of
from console_svc.web.language import refused, text
from console_svc.web.paging import PAGE_SIZE, first_of
from console_svc.web.sessions import Session
from contentgen import Content, InvalidArgument, PublishStatus, ReviewStatus

REVIEW_STATES: Sequence[ReviewStatus] = get_args(ReviewStatus)
PUBLISH_STATES: Sequence[PublishStatus] = get_args(PublishStatus)
NOT_READ = text("An account is a number, a score too, and a label is like team=news.")
_CONDITIONS = ("query", "account", "category", "label", "score", "before")


class Contents:
    link = Link("/contents", "Contents", "ContentService/ListContents")

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> Sequence[BaseRoute]:
        return (self._site.page("/contents", self.show),)

    async def show(self, request: Request, session: Session) -> Response:
        """Lists contents, the newest first. `before` selects those made earlier, which is how the next page begins."""
        params = request.query_params
        typed = typed_of(params, _CONDITIONS)
        review = next((state for state in REVIEW_STATES if state == params.get("review")), None)
        publish = next((state for state in PUBLISH_STATES if state == params.get("publish")), None)
        contents: list[Content] = []
        more = False
        problem = ""
        try:
            contents, more = await first_of(
                session.client.iter_contents(
                    read_account(typed["account"]) if "account" in typed else None,
                    review,
                    publish_status=publish,
                    category=typed.get("category", ""),
                    labels=read_label(typed["label"]) if "label" in typed else None,
                    min_quality_score=float(typed["score"]) if "score" in typed else None,
                    created_before=typed.get("before"),
                    query=typed.get("query", ""),
                    page_size=PAGE_SIZE + 1,
                ),
                PAGE_SIZE,
            )
        except InvalidArgument as error:
            problem = refused(error)
        except ValueError:
            problem = NOT_READ
        states = [("review", review)] * bool(review) + [("publish", publish)] * bool(publish)
        filters = [(name, text) for name, text in typed.items() if name != "before"] + states
        older = [*filters, ("before", contents[-1]["created_at"])] if more else []
        values = {
            "contents": contents,
            "typed": typed,
            "review": review,
            "publish": publish,
            "review_states": REVIEW_STATES,
            "publish_states": PUBLISH_STATES,
            "older": urlencode(older),
            "filtered": bool(typed or states),
            "problem": problem,
        }
        return self._site.render(request, "contents/list.html", values, session, status=BAD if problem else 200)


def read_account(text: str) -> int:
    """Reads the number of an account. Raises ValueError for any other text."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 2**63:
        raise ValueError
    return int(text)


def read_label(text: str) -> dict[str, str]:
    """Reads a label such as `team=news`. Raises ValueError for any other text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError
    return {key: value}
