"""Submit many tasks at once, safely repeatable, and see what became of them.

    python examples/python/batch.py [host:port]

The request ids are the caller's own. Whoever is not sure whether a batch got through, after a crash say, submits
it again: what is known already is answered by its first task, and nothing is made twice.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections import Counter

from contentgen import ContentGenerationClient, NewTask

ACCOUNT = 1
TOPICS = (
    "春天的第一杯咖啡",
    "Working well from home",
    "城市里的自行车",
    "A queue that loses nothing",
    "周末的短途旅行",
)
LIMIT = 120.0  # seconds a task


def main(target: str) -> str | None:
    """What went wrong, for the exit status; None where nothing did."""
    order = f"order-{uuid.uuid4().hex[:8]}"  # of the caller's own records, in earnest
    batch: list[NewTask] = [
        {
            "account_id": ACCOUNT,
            "topic": topic,
            "priority": 10 - number,
            "labels": {"order": order},
            "request_id": f"{order}/{number}",
        }
        for number, topic in enumerate(TOPICS)
    ]
    with ContentGenerationClient(target, token=os.environ.get("CONTENTGEN_TOKEN")) as client:
        task_ids = client.submit_tasks(batch)
        if client.submit_tasks(batch) != task_ids:
            return "the same request ids made other tasks"
        print(f"{order}: {len(task_ids)} tasks, submitted twice and made once")
        for task_id in task_ids:
            client.wait(task_id, timeout=LIMIT)
        tasks = client.get_task_statuses(task_ids)
    for task in tasks:
        if task is not None:
            print(f"{task['status']:<10}  {task['topic']}{'  ' + task['error'] if task['error'] else ''}")
    counts = Counter(task["status"] for task in tasks if task is not None)
    return None if counts["completed"] == len(TOPICS) else f"not all are completed: {dict(counts)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CONTENTGEN_SCHEDULER", "127.0.0.1:50051")))
