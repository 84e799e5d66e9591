"""Submit many tasks and wait for all of them on one event loop, each handled as soon as it has ended.

python examples/python/wait_for_many.py [host:port]
"""

from __future__ import annotations

import asyncio
import os
import sys

from contentgen import AsyncContentGenerationClient, ContentGenerationError

ACCOUNT = 1
TOPICS = ("春天的第一杯咖啡", "Working well from home", "城市里的自行车", "A queue that loses nothing")
LIMIT = 120.0  # seconds a task


async def main(target: str) -> str | None:
    """What went wrong, for the exit status; None if nothing did."""
    async with AsyncContentGenerationClient(target, token=os.environ.get("CONTENTGEN_TOKEN")) as client:
        task_ids = await client.submit_tasks({"account_id": ACCOUNT, "topic": topic} for topic in TOPICS)
        errors = await asyncio.gather(*(finish(client, task_id) for task_id in task_ids))
    failed = [error for error in errors if error]
    return "; ".join(failed) or None


async def finish(client: AsyncContentGenerationClient, task_id: str) -> str | None:
    """Waits for a task and shows its article; says what went wrong, or None."""
    try:
        task = await client.wait(task_id, timeout=LIMIT, check=True)
        article = await client.get_content(task["content_id"])
    except ContentGenerationError as error:  # it failed, was cancelled, takes too long, or a call failed
        return f"{task_id}: {error.message}"
    if article is None:
        return f"the content of {task_id} was deleted"
    print(f"{article['title']}: {article['word_count']} characters")
    return None


if __name__ == "__main__":
    TARGET = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CONTENTGEN_SCHEDULER", "127.0.0.1:50051")
    sys.exit(asyncio.run(main(TARGET)))
