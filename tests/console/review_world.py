"""What the tests of the review desk and of contents have: two editors, and articles with pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from contentgen import Content
from tests.console.conftest import Place
from tests.harness.picture_creator import picture_creator, writing
from tests.harness.pictures import png

BODY = "# An article\n\nIt has a picture:\n\n![a cover](asset:cover.png)\n\nand an end.\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@dataclass(frozen=True)
class Press:
    """A place whose worker writes articles with pictures."""

    place: Place

    def article(self, topic: str, *, auto_approve: bool = False, **more: object) -> Content:
        """A new one, that waits for its review unless it is approved by itself."""
        client = self.place.client
        task_id = client.submit_task(
            account_id=self.place.account,
            topic=topic,
            auto_approve=auto_approve,
            **more,  # type: ignore[arg-type] # a brief
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


@contextmanager
def press_at(place: Place) -> Iterator[Press]:
    place.worker.stop()
    creator = picture_creator(
        place.stack.folder,
        writing(cover_png=png(60, 40, shade=90), bad_svg=SVG),
        content=BODY,
        images=["cover.png", "bad.svg", "https://elsewhere.example/picture.png"],
    )
    worker = place.stack.worker(
        "worker-2", place.scheduler, CONTENTGEN_TOKEN="worker-token", CREATOR_CLI_PATH=str(creator)
    )
    worker.start()
    yield Press(place)
