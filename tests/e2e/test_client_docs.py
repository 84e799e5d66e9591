"""The snippets of docs/client.md, one after the other, against a scheduler and a worker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from contentgen import ContentGenerationClient
from tests.harness.stack import Stack

GUIDE = Path(__file__).parents[2] / "docs" / "client.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIMIT = 30.0


@pytest.mark.costly("every snippet of a guide runs")
def test_the_snippets_do_what_the_guide_says(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = stack.scheduler().start()
    assert scheduler.client.create_account() == 1
    stack.worker("a", scheduler, CREATOR_DEMO_SECONDS="1").start()
    guide = GUIDE.read_text(encoding="utf-8")
    assert guide.count("127.0.0.1:50051") == 2, "a snippet for each client"
    first, *others = SNIPPET.findall(guide.replace("127.0.0.1:50051", scheduler.target))
    names: dict[str, Any] = {}
    run(first, names)
    with ContentGenerationClient(scheduler.target) as client:
        names["client"] = client
        client.wait(client.submit_task(1, "to be reviewed", auto_approve=False), LIMIT, check=True)
        for snippet in others:
            run(snippet, names)
    out = capsys.readouterr().out
    assert "# 人工智能的未来发展" in out
    assert "written: ['Tea', 'Bread', '城市里的自行车']" in out
    assert "publishing to be reviewed" in out
    assert "processing → completed" in out
    assert re.search(r"^\d of \d run on$", out, re.MULTILINE)
    assert "account 999" in out
    assert "it is completed and should be pending" in out
    assert "INVALID_ARGUMENT ['topic', 'priority']" in out
    assert "still pending" in out


def run(snippet: str, names: dict[str, Any]) -> None:
    exec(compile(snippet, str(GUIDE), "exec"), names)  # noqa: S102 - our own text
