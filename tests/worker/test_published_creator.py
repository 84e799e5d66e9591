"""The published npm package under a guard, with scripted endpoints for its model, pictures and search.

Each run takes the program more than a second to begin, so a run shows all that can be told apart in it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from contentgen.service.settings import settings_of
from tests.harness.creator_cli import RecordingReporter
from tests.harness.guarded import FAR, guarding, living
from tests.harness.waiting import wait_until_async
from tests.harness.worker_process import WorkerProcess
from tests.published.package import (
    ARTICLE,
    PASSED,
    PICTURES,
    Answer,
    Endpoints,
    Kind,
    picture_review,
    serving,
)
from worker_svc.config import WorkerSettings
from worker_svc.creators.base import Brief, Job
from worker_svc.creators.llm_content_creator import NO_REQUIREMENTS, LlmContentCreator
from worker_svc.guard import now
from worker_svc.guard.client import Guard
from worker_svc.outcome import Article, Deferred, Failed, Outcome, Reason
from worker_svc.runner import CliRun, CreatorProgram, Runner

pytestmark = pytest.mark.integration

STARTED = 20.0
"""Seconds for the program to start and make its first call, on a busy machine."""
SETTINGS = settings_of(WorkerSettings, {"creator_poll_interval": 30.0, "creator_max_result": 3 * 1024 * 1024})
JOB = Job(
    task_id="task-0123456789ab",
    attempt=1,
    brief=Brief(
        "人工智能的未来发展",
        {"keywords": "智能,未来", "requirements": "面向普通读者", "tone": "轻松"},
        {"audience": "学生"},
    ),
)
LINES = " leading\n" + "\n".join(
    (
        "'single' \"double\" `id` $(id) ${HOME} !! \\ %s {0} {topic}",
        "first line\nsecond line\r\n\ttabbed\n",
        "任务ID: 1\n状态: 失败\n\x1b[31m❌ 错误: nothing\x1b[0m",
        "a\n✅ 执行成功\n────\n状态: 已完成\n🔍 文本质检:\n─\n状态: 通过\n评分: 1/100",
        "emoji 👩‍👩‍👧‍👦🏳️‍🌈 عربى 中文 \u202eright to left",
        "'); DROP TABLE tasks; --",
        "字" * 4_000,
        "trailing ",
    )
)
"""A topic that is hostile, and requirements."""


def about(topic: str = JOB.brief.topic, options: Mapping[str, str] = JOB.brief.options, **texts: str) -> Job:
    """`JOB` with another brief."""
    return replace(JOB, brief=Brief(topic, {**JOB.brief.texts, **texts}, options))


@dataclass
class Published:
    """Runs of the program, each as a worker makes it."""

    guard: Guard
    cli: Path
    folder: Path
    allowed_options: Collection[str] | None = None

    def runner(self, variables: Mapping[str, str], *passed: str) -> Runner:
        """A runner of a worker with these variables, whose CREATOR_ENV names `passed` and those of the endpoints."""
        creator = LlmContentCreator(SETTINGS)
        environ = {"PATH": os.environ["PATH"], **variables}
        program = CreatorProgram.locate(str(self.cli), (*PASSED, *passed), environ, creator.needs)
        settings = SETTINGS.model_copy(update={"creator_options_allowed": self.allowed_options})
        return Runner(self.guard, program, creator, self.folder, settings)

    @asynccontextmanager
    async def open(self, endpoints: Endpoints) -> AsyncIterator[tuple[Runner, CliRun]]:
        runner = self.runner(endpoints.environment)
        async with runner.open("run", now() + FAR) as run:
            yield runner, run

    async def drive(self, endpoints: Endpoints, job: Job = JOB) -> tuple[Outcome, RecordingReporter]:
        """A whole run, which can reach only the endpoints, and leaves no file in its folder."""
        report = RecordingReporter()
        async with self.open(endpoints) as (runner, run):
            outcome = await runner.execute(run, job, report)
        assert endpoints.strays == []
        assert list(self.folder.iterdir()) == []
        return outcome, report


@pytest.fixture
async def published(published_cli: Path, tmp_path: Path) -> AsyncIterator[Published]:
    async with guarding() as guard:
        yield Published(guard, published_cli, tmp_path)


def failure(outcome: Outcome) -> Failed:
    assert isinstance(outcome, Failed), outcome
    return outcome


@pytest.mark.costly("the published program takes more than a second to begin, and runs twice", seconds=3)
async def test_concurrent_runs_do_not_mix_and_hostile_texts_arrive_byte_for_byte(published: Published) -> None:
    """One searches in vain, has no requirements, and Node in production mode: then the log is JSON, and the program
    would require a PostgreSQL. Its article pretends that the run has failed.
    """
    pretence = "\n\n任务ID: 1\n状态: 失败\n\n🔍 文本质检:\n────\n状态: 通过\n评分: 1.5/100\n"
    report, other_report = RecordingReporter(), RecordingReporter()

    async def drive(runner: Runner, job: Job, report: RecordingReporter) -> Outcome:
        async with runner.open("run" if report is other_report else "another run", now() + FAR) as run:
            return await runner.execute(run, job, report)

    with (
        serving() as endpoints,
        serving(search=Answer("quota", status=432), article=Answer(ARTICLE + pretence)) as others,
    ):
        runner = published.runner({**others.environment, "NODE_ENV": "production"}, "NODE_ENV")
        article, other = await asyncio.gather(
            drive(published.runner(endpoints.environment), about(topic=LINES, requirements=LINES), report),
            drive(runner, about(topic="--help", requirements=" \n", keywords="", tone=""), other_report),
        )
    assert isinstance(article, Article), article
    assert (article.content, article.html, article.images) == (ARTICLE, "", PICTURES)
    assert article.quality_score == pytest.approx(8.6)
    assert report.events[0] == "processing"
    steps = [(0, "search", ""), (16, "organize", ""), (33, "write", ""), (50, "checkText", "")]
    assert report.events[1:] == [*steps, (66, "generateImage", ""), (83, "checkImage", "")]
    assert [document["query"] for document in endpoints.of(Kind.SEARCH)] == [LINES]
    [request] = endpoints.of(Kind.ARTICLE)
    assert request["messages"][-1]["content"].count(LINES) >= 2

    assert isinstance(other, Article), other
    assert other.content == ARTICLE + pretence
    assert other.quality_score == pytest.approx(8.6)
    assert [document["query"] for document in others.of(Kind.SEARCH)] == ["--help"]
    assert NO_REQUIREMENTS in others.of(Kind.ARTICLE)[0]["messages"][-1]["content"]
    assert len(other_report.events) == 7
    assert endpoints.strays == others.strays == []
    assert list(published.folder.iterdir()) == []


async def test_a_failure_is_named(published: Published) -> None:
    """The program exits with status 0, and prints success."""
    with serving(picture_review=picture_review(3.0)) as endpoints:
        outcome, report = await published.drive(endpoints)
    assert failure(outcome).reason is Reason.CREATOR_ERROR
    assert "is failed: Image quality check failed after 2 attempts" in failure(outcome).message
    assert report.events[0] == "processing"


async def test_a_model_over_its_quota_defers_the_task(published: Published) -> None:
    with serving(text_review=Answer("slow down", status=429)) as endpoints:
        outcome, _ = await published.drive(endpoints)
    message = "the CLI says that the run is failed in checkText: Request failed with status code 429"
    assert outcome == Deferred(30.0, message)


async def test_an_option_that_the_program_does_not_know_fails_the_task(published: Published) -> None:
    with serving() as endpoints:
        published.allowed_options = ["colour"]
        outcome, _ = await published.drive(endpoints, about(options={"colour": "red"}))
    assert failure(outcome) == Failed(
        Reason.CREATOR_ERROR,
        "the CLI exited with status 1: error: unknown option '--colour=red'",
        {"exit_code": "1", "stderr": "error: unknown option '--colour=red'"},
    )


async def test_a_worker_whose_cli_cannot_be_used_does_not_start(published_cli: Path, tmp_path: Path) -> None:
    settings = {
        "CREATOR_CLI_PATH": str(published_cli),
        "CREATOR_PROFILE": "llm-content-creator",
        "LLM_API_KEY": "a key",
        "LLM_MAX_TOKENS": "none",
    }
    with WorkerProcess(tmp_path / "worker", "127.0.0.1:1", **settings) as worker:
        assert await worker.exited(within=60) == 78
        [event] = worker.events("creator.unusable")
    why = "it refuses its settings; set in the worker's environment, as it requires: "
    problem = f"the CLI {published_cli} cannot be used: {why}LLM_BASE_URL, LLM_MAX_TOKENS, TAVILY_API_KEY, ARK_API_KEY"
    assert problem in event["event"]


async def test_a_cancelled_run_leaves_no_process_and_no_file(published: Published) -> None:
    """As when its task is cancelled or times out: the coroutine is cancelled, then the run is closed."""
    with serving(article=Answer(held=True)) as endpoints:
        async with published.open(endpoints) as (runner, run):
            attempt = asyncio.create_task(runner.execute(run, JOB, RecordingReporter()))
            await wait_until_async(lambda: endpoints.of(Kind.ARTICLE), within=STARTED, what="the model is asked")
            [cli] = psutil.Process(published.guard.pid).children(recursive=True)
            attempt.cancel()
            await asyncio.wait([attempt])
        assert living([cli.pid]) == set()
    assert list(published.folder.iterdir()) == []
