"""The `json` profile: any program whose one synchronous `create` prints the result document at its end."""

from __future__ import annotations

from worker_svc.creators import progress
from worker_svc.creators.base import Cli, Creator, Job, RunReporter, create_arguments, result_of
from worker_svc.outcome import Outcome


class JsonSync(Creator):
    """`create --mode=sync …` runs until done; exit status 0 and the last JSON document on stdout are the result."""

    async def run(self, job: Job, cli: Cli, report: RunReporter) -> Outcome:
        done = await self.call_once(cli, create_arguments(job, "sync"), report, progress.of_line)
        return result_of(done, self._settings)
