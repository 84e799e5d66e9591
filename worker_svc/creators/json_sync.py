"""The `json` profile: any program whose one synchronous `create` prints the result document at its end."""

from __future__ import annotations

from worker_svc.creators import progress
from worker_svc.creators.base import Cli, Creator, Job, RunReporter, call, create_arguments, result_of
from worker_svc.outcome import Outcome


class JsonSync(Creator):
    """`create --mode=sync …` runs until done; exit status 0 and the last JSON document on stdout are the result.

    Only the task's timeout limits it.
    """

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        def on_line(line: str) -> None:
            if value := progress.of_line(line):
                report.progress(*value)

        completed_call = await call(
            cli,
            create_arguments(job, "sync"),
            limit=None,
            on_start=report.processing,
            on_line=on_line,
            max_output=self._settings.result_output,
        )
        return result_of(completed_call, self._settings)
