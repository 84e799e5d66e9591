"""What the tests of the review desk and of contents have: two editors, and articles with pictures."""

from __future__ import annotations

from dataclasses import dataclass

from contentgen import Content
from tests.console.conftest import Place


@dataclass(frozen=True)
class Press:
    """A place whose worker writes articles with pictures."""

    place: Place

    def article(self, topic: str, *, auto_approve: bool = False, **fields: object) -> Content:
        """Makes an article, which waits for its review unless it is approved by itself."""
        client = self.place.client
        task_id = client.submit_task(
            account_id=self.place.account,
            topic=topic,
            auto_approve=auto_approve,
            **fields,  # type: ignore[arg-type] # a brief
        )
        content = client.get_content(client.wait(task_id, timeout=60)["content_id"])
        assert content
        return content

    def changed(self, content_id: int, **texts: str) -> Content:
        return self.place.client.update_content(content_id, **texts)

    def now(self, content_id: int) -> Content:
        content = self.place.client.get_content(content_id)
        assert content
        return content


def nothing_waits(place: Place) -> None:
    """Deletes the contents that other tests have left in the queue."""
    for content in place.client.iter_contents(review_status="pending_review"):
        place.client.delete_content(content["content_id"])
