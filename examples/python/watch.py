"""Follow tasks live, each move as it is committed.

    python examples/python/watch.py [host:port]

Schedulers may come and go meanwhile: the watch connects again by itself, and no move is missed or shown twice.
"""

from __future__ import annotations

import os
import sys

from contentgen import ContentGenerationClient

ACCOUNT = 1
TOPICS = ("人工智能的未来发展", "Working well from home")


def main(target: str) -> str | None:
    """What went wrong, for the exit status; None where nothing did."""
    with ContentGenerationClient(target, token=os.environ.get("CONTENTGEN_TOKEN")) as client:
        task_ids = [client.submit_task(ACCOUNT, topic) for topic in TOPICS]
        last: dict[str, str] = {}
        with client.watch(task_ids, until_ended=True) as events:
            for event in events:
                task = event["task"]
                last[task["task_id"]] = task["status"]
                before = event["previous_status"] or "now"
                note = " (will be retried)" if event["will_retry"] else ""
                print(f"{event['event_time']}  {task['task_id']}  {before} → {task['status']}{note}")
                # A service that must see each move for good stores event["resume_token"] with what it did about it,
                # and begins there when it starts again: client.watch(account_id=…, resume_token=…).
    return None if set(last.values()) == {"completed"} else f"not all are completed: {last}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CONTENTGEN_SCHEDULER", "127.0.0.1:50051")))
