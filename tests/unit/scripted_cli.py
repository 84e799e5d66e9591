"""A CLI whose answers are shell snippets, and a profile that runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.harness.creator_cli import RecordingReporter, SubprocessCli
from worker_svc.creators import load
from worker_svc.creators.base import CreatorSettings, Job
from worker_svc.creators.brief import Brief
from worker_svc.outcome import Outcome

JOB = Job(task_id="task-0123456789ab", attempt=1, brief=Brief("a topic"))
SECOND = replace(JOB, attempt=2)
SETTINGS = CreatorSettings(poll_interval=30.0, max_result=1024)
PROGRAM = """
cd "$FOLDER"
call=$(($(cat "$1.calls" 2>/dev/null || echo 0) + 1))
echo "$call" >"$1.calls"
while [ ! -f "$1.$call" ]; do call=$((call - 1)); done
. "./$1.$call"
"""
DONE = """echo '{"content": "an article", "qualityScore": 7.5}'"""


def says(status: str) -> str:
    return f"""echo '{{"status": "{status}"}}'"""


def scripted(folder: Path, **answers: Sequence[str]) -> SubprocessCli:
    """A CLI whose n-th call of a command runs the n-th shell snippet given for it, or the last one there is."""
    for command, snippets in answers.items():
        for number, snippet in enumerate(snippets, start=1):
            (folder / f"{command}.{number}").write_text(snippet)
    program = folder / "program.sh"
    program.write_text(PROGRAM)
    return SubprocessCli("/bin/sh", str(program), env={"FOLDER": str(folder)})


async def run(
    cli: SubprocessCli, *, profile: str = "reference", job: Job = JOB, settings: CreatorSettings = SETTINGS
) -> tuple[Outcome, RecordingReporter]:
    report = RecordingReporter()
    return await load(profile, settings).run(job, cli, report), report
