"""Review an article, then publish what is due: an editor and a publisher in one program.

    python examples/python/review_and_publish.py [host:port]

Any number of publishers may run: none gets what another has claimed, and what a publisher that died had claimed comes
back when its claim expires.
"""

from __future__ import annotations

import os
import sys

from contentgen import Content, ContentGenerationClient, InvalidStateException

ACCOUNT = 1
LIMIT = 120.0  # seconds
LEASE = 60.0  # seconds to publish one batch in


def main(target: str) -> str | None:
    """What went wrong, for the exit status; None where nothing did."""
    with ContentGenerationClient(target, token=os.environ.get("CONTENTGEN_TOKEN")) as client:
        task_id = client.submit_task(ACCOUNT, "春天的第一杯咖啡", auto_approve=False)
        content_id = client.wait(task_id, timeout=LIMIT, check=True)["content_id"]
        review(client)
        published = publish(client)
    return None if content_id in published else f"content {content_id} was not published by us"


def review(client: ContentGenerationClient) -> None:
    """Decides about all that waits for a review."""
    for content in client.iter_contents(ACCOUNT, "pending_review"):
        good = content["word_count"] > 100
        try:
            client.review_content(content["content_id"], approve=good, comment="" if good else "too short")
        except InvalidStateException as error:  # somebody else was faster
            print(f"content {content['content_id']} is {error.current_state} already")
        else:
            print("approved" if good else "rejected", content["content_id"], content["title"])


def publish(client: ContentGenerationClient) -> list[int]:
    """Publishes what is due, batch by batch; the ids of what was."""
    published: list[int] = []
    while entries := client.claim_publish_pool(ACCOUNT, limit=10, lease=LEASE):
        for entry in entries:
            content = client.get_content(entry["content_id"])
            error = send(content)
            client.report_published(entry["content_id"], entry["claim_id"], error=error)
            if error is None:
                published.append(entry["content_id"])
    return published


def send(content: Content | None) -> str | None:
    """What your site does with an article; says what went wrong, or None."""
    if content is None:
        return "the content is not there"
    print("published", content["content_id"], content["title"])
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CONTENTGEN_SCHEDULER", "127.0.0.1:50051")))
