"""Submit one task, wait for its end, read the article.

python examples/python/submit_and_wait.py [host:port]
"""

from __future__ import annotations

import os
import sys

from contentgen import ContentGenerationClient, ContentGenerationError, CreatorException, WaitTimeoutException

ACCOUNT = 1
LIMIT = 120.0  # seconds


def main(target: str) -> str | None:
    """What went wrong, for the exit status; None where nothing did."""
    with ContentGenerationClient(target, token=os.environ.get("CONTENTGEN_TOKEN")) as client:
        try:
            task_id = client.submit_task(ACCOUNT, "人工智能的未来发展", keywords="AI,技术", tone="专业", priority=8)
            print("submitted", task_id)
            task = client.wait(task_id, timeout=LIMIT, check=True)
        except CreatorException as error:  # no retry is to come
            return f"the task failed: {error.message} {error.details}"
        except WaitTimeoutException as error:
            return f"{error.message} after {LIMIT:g} s; it goes on, ask again later"
        except ContentGenerationError as error:  # cancelled, or a call failed
            return error.message
        article = client.get_content(task["content_id"])
        if article is None:
            return f"the content of {task_id} was deleted"
        print(f"{article['title']}: {article['word_count']} characters\n\n{article['summary']}…")
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CONTENTGEN_SCHEDULER", "127.0.0.1:50051")))
