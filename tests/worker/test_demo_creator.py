"""The demo creator as a real program, on its own and driven by the profiles."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psutil
import pytest

from contentgen.service.settings import settings_of
from tests.harness.creator_cli import AnsweringCli, RecordingReporter
from tests.harness.creators import HOSTILE_TOPICS
from tests.harness.process import installed
from tests.harness.waiting import wait_until
from worker_svc.config import WorkerSettings
from worker_svc.creators import PROFILES
from worker_svc.creators.base import Brief, CompletedCall, Job
from worker_svc.demo_creator.__main__ import main
from worker_svc.outcome import Article, Deferred, Exit, Failed, Outcome, Reason

pytestmark = pytest.mark.integration

PROGRAM = str(installed("contentgen-demo-creator"))
SETTINGS = settings_of(WorkerSettings, {"creator_poll_interval": 0.05, "creator_max_result": 3 * 1024 * 1024})
JOB = Job(task_id="task-0123456789ab", attempt=1, brief=Brief("人工智能的未来发展", options={"demo-seconds": "0.2"}))
SPOKEN = ("reference", "json")
"""The profiles that it supports."""
CHINESE_LAST_LINE = "它不是语言模型。"
ENGLISH_LAST_LINE = "which is no language model."


@dataclass
class Demo(AnsweringCli):
    """The program with a folder and a journal of its own, in this process."""

    capture: pytest.CaptureFixture[bytes]

    @property
    def env(self) -> dict[str, str]:
        return {"CREATOR_DEMO_DIR": str(self.folder / "runs"), "CREATOR_DEMO_JOURNAL": str(self.folder / "journal")}

    def __call__(self, *args: str) -> subprocess.CompletedProcess[bytes]:
        status = main(args)
        return subprocess.CompletedProcess(args, status, *self.capture.readouterr())

    def start(self, *args: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *args], env=self.env, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def journal(self, event: str) -> list[dict[str, Any]]:
        path = self.folder / "journal"
        lines = path.read_text().splitlines() if path.exists() else []
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def answer(self, args: Sequence[str]) -> CompletedCall:
        done = self(*args)
        status, stderr = Exit(done.returncode, None), done.stderr.decode().strip()
        return CompletedCall(status, done.stdout, stderr, truncated=False, timed_out=False)

    async def drive(self, profile: str, job: Job) -> tuple[Outcome, RecordingReporter]:
        report = RecordingReporter()
        return await PROFILES[profile](SETTINGS).run(job, self, report), report


@pytest.fixture
def demo(tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Demo:
    demo = Demo(tmp_path, capsysbinary)
    for name, value in demo.env.items():
        monkeypatch.setenv(name, value)
    return demo


def article(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return document


def with_options(**options: str) -> Job:
    more = {key.replace("_", "-"): value for key, value in options.items()}
    return replace(JOB, brief=JOB.brief._replace(options={**JOB.brief.options, **more}))


def test_the_demo_creator_prints_its_version(demo: Demo) -> None:
    for command in ([PROGRAM], [sys.executable, "-m", "worker_svc.demo_creator"]):
        output = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
        assert "demo-creator" in output
        assert "no language model" in output


def test_the_demo_creator_needs_only_the_standard_library(demo: Demo) -> None:
    show = "import sys; import worker_svc.demo_creator.__main__; print(*{n.partition('.')[0] for n in sys.modules})"
    before = "import sys; print(*{n.partition('.')[0] for n in sys.modules})"
    loaded, preloaded = (
        set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
        for code in (show, before)
    )
    assert loaded - preloaded - set(sys.stdlib_module_names) == {"worker_svc"}


@pytest.mark.parametrize(
    ("topic", "words", "last_line"),
    [
        ("人工智能的未来发展", ["大模型,伦理", "专业", ""], CHINESE_LAST_LINE),
        ("人工智能的未来发展", ["大模型,伦理", "专业", "不少于六百字"], CHINESE_LAST_LINE),
        ("City trees", ["shade,roots", "calm", ""], ENGLISH_LAST_LINE),
    ],
)
def test_an_article_is_written(demo: Demo, topic: str, words: list[str], last_line: str) -> None:
    texts = [f"--{name}={text}" for name, text in zip(("keywords", "tone", "requirements"), words, strict=True)]
    written = article(demo("create", "--mode=sync", f"--topic={topic}", *texts, "--demo-seconds=0"))
    content = written["content"]
    assert content.startswith(f"# {topic}\n")
    assert content.rstrip().endswith(last_line)
    assert len(content) >= 600
    assert all(word in content for word in ",".join(words).split(","))
    assert content.count("\n## ") >= 4
    assert f"<h1>{topic}</h1>" in written["htmlContent"]
    assert len(written["images"]) == 2
    assert all(f"]({image})" in content for image in written["images"])


def test_the_score_is_derived_from_the_topic(demo: Demo) -> None:
    scores = [
        article(demo("create", "--mode=sync", f"--topic={topic}", "--demo-seconds=0"))["qualityScore"]
        for topic in ("a", "a", "b")
    ]
    assert scores[0] == scores[1] != scores[2]
    assert all(0 <= score <= 10 for score in scores)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["destroy"],
        ["create"],
        ["create", "--topic="],
        ["create", "--topic=a"],
        ["create", "--topic=a", "--task-id=x", "--demo-colour=red"],
        ["create", "--topic=a", "--task-id=x", "stray"],
        ["create", "--topic=a", "--task-id=x", "--mode=later"],
        ["create", "--topic=a", "--task-id=x", "--type=poem"],
        ["create", "--topic=a", "--task-id=x", "--demo-fail=boredom"],
        ["create", "--topic=a", "--task-id=x", "--demo-seconds=nan"],
        ["create", "--task-id=x", "--topic"],
        ["status", "--json"],
        ["status", "--task-id=x"],
        ["result", "--task-id=x", "--json", "--topic=a"],
    ],
)
def test_wrong_arguments_are_refused(demo: Demo, args: list[str]) -> None:
    done = demo(*args)
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"usage:" in done.stderr
    assert demo.journal("start") == []


def test_other_options_are_ignored(demo: Demo) -> None:
    create = ("create", "--mode=sync", "--topic=a", "--demo-seconds=0")
    assert article(demo(*create, "--colour=red"))["content"] == article(demo(*create))["content"]


def test_values_may_be_separate_arguments(demo: Demo) -> None:
    assert article(demo("create", "--mode", "sync", "--topic", "--help", "--demo-seconds", "0"))["content"]


def test_an_unknown_task_has_no_status(demo: Demo) -> None:
    for command in ("status", "result"):
        done = demo(command, "--task-id=task-none", "--json")
        assert (done.returncode, done.stdout) == (1, b"")


def test_an_asynchronous_run_needs_no_process(demo: Demo) -> None:
    assert demo("create", "--topic=a", "--task-id=x", "--demo-seconds=600").returncode == 0
    status = json.loads(demo("status", "--task-id=x", "--json").stdout)
    assert status["status"] == "running"
    assert 0 <= status["progress"]["percent"] < 100
    assert demo("result", "--task-id=x", "--json").returncode == 1


@pytest.mark.parametrize("profile", SPOKEN)
async def test_a_profile_gets_its_article(demo: Demo, profile: str) -> None:
    outcome, report = await demo.drive(profile, JOB)
    assert isinstance(outcome, Article)
    assert JOB.brief.topic in outcome.content
    assert outcome.quality_score is not None
    assert report.events[0] == "processing"
    assert len(report.events) > 1
    assert demo.commands.count("create") == 1
    assert [len(demo.journal(event)) for event in ("start", "end")] == [1, 1]


@pytest.mark.parametrize("topic", HOSTILE_TOPICS.values(), ids=HOSTILE_TOPICS)
async def test_a_hostile_topic_is_the_article_s(demo: Demo, topic: str) -> None:
    job = replace(JOB, brief=Brief(topic, {"tone": topic[:200]}, {"demo-seconds": "0"}))
    outcome, _ = await demo.drive("json", job)
    assert isinstance(outcome, Article), outcome
    (start,) = demo.journal("start")
    assert start["topic"] == topic
    assert start["topic_sha256"] == hashlib.sha256(topic.encode()).hexdigest()
    assert Tags(outcome.html).names <= {"h1", "h2", "p", "ul", "li", "img", "hr"}


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)


@pytest.mark.parametrize("profile", SPOKEN)
@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        ("exit", Reason.CREATOR_ERROR),
        ("failed", Reason.CREATOR_ERROR),
        ("garbage", Reason.CREATOR_INVALID_RESPONSE),
        ("empty", Reason.CREATOR_INVALID_RESPONSE),
        ("big", Reason.RESULT_TOO_LARGE),
    ],
)
async def test_each_misbehaviour_is_a_named_outcome(demo: Demo, profile: str, fail: str, expected: Reason) -> None:
    outcome, _ = await demo.drive(profile, with_options(demo_fail=fail, demo_seconds="0"))
    assert isinstance(outcome, Failed)
    assert outcome.reason is expected
    if fail == "exit":
        assert outcome.details == {"exit_code": "3", "stderr": "demo creator: told to fail\nError: the model said no"}


@pytest.mark.parametrize("profile", SPOKEN)
async def test_the_demo_creator_fails_a_requested_number_of_times(demo: Demo, profile: str) -> None:
    job = with_options(demo_fail="exit", demo_fail_times="2")
    outcomes = [(await demo.drive(profile, replace(job, attempt=attempt)))[0] for attempt in (1, 2, 3)]
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed, Article]
    assert [start["attempt"] for start in demo.journal("start")] == [1, 2, 3]


def test_the_first_run_of_a_task_may_take_another_time(demo: Demo) -> None:
    create = ("create", "--topic=Tea", "--task-id=a", "--demo-first-seconds=600", "--demo-seconds=0")
    for expected in ("running", "completed"):
        assert demo(*create).returncode == 0
        assert json.loads(demo("status", "--task-id=a", "--json").stdout)["status"] == expected


@pytest.mark.parametrize("profile", SPOKEN)
async def test_the_demo_creator_defers(demo: Demo, profile: str) -> None:
    job = with_options(demo_fail="defer", demo_fail_times="1", demo_retry_after="2.5")
    outcome, _ = await demo.drive(profile, job)
    assert outcome == Deferred(2.5, "demo creator: the model is over its quota")
    outcome, _ = await demo.drive(profile, replace(job, attempt=2))
    assert isinstance(outcome, Article)


async def test_a_second_attempt_adopts_the_run_of_the_first(demo: Demo) -> None:
    """As after the death of a worker: the run continues, and is not paid for twice."""
    created = demo("create", f"--topic={JOB.brief.topic}", f"--task-id={JOB.task_id}", "--demo-seconds=0.5")
    assert created.returncode == 0
    outcome, _ = await demo.drive("reference", replace(JOB, attempt=2))
    assert isinstance(outcome, Article)
    assert "create" not in demo.commands
    assert len(demo.journal("start")) == 1


@pytest.mark.parametrize(("fail", "ends"), [("hang", True), ("ignore-term", False)])
def test_a_create_that_hangs_is_stopped(demo: Demo, fail: str, ends: bool) -> None:
    process = demo.start("create", "--topic=a", "--task-id=x", f"--demo-fail={fail}")
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline().startswith("progress:")
        process.send_signal(signal.SIGTERM)
        if not ends:
            status = Path(f"/proc/{process.pid}/status").read_text()
            ignored = int(next(line for line in status.splitlines() if line.startswith("SigIgn")).split()[1], 16)
            assert ignored & 1 << (signal.SIGTERM - 1)
            assert process.poll() is None
            process.kill()
        assert process.wait(timeout=10) == -(signal.SIGTERM if ends else signal.SIGKILL)
    assert len(demo.journal("start")) == 1
    assert demo.journal("end") == []


@pytest.fixture
def left_behind(demo: Demo) -> Iterator[list[psutil.Process]]:
    """The processes that a create left behind; ended afterwards."""
    create = [PROGRAM, "create", "--topic=a", "--task-id=x", "--demo-fail=fork"]
    nowhere = subprocess.DEVNULL
    subprocess.run(create, env=demo.env, stdout=nowhere, stderr=nowhere, check=True, timeout=30)
    try:
        wait_until(lambda: len(demo.journal("child")) == 3, within=10, what="three children in the journal")
        yield [psutil.Process(entry["pid"]) for entry in demo.journal("child")]
    finally:
        for entry in demo.journal("child"):
            os.kill(entry["pid"], signal.SIGKILL)


def test_children_outlive_their_create(demo: Demo, left_behind: list[psutil.Process]) -> None:
    assert all(process.status() != psutil.STATUS_ZOMBIE for process in left_behind)
    sessions = sorted(session_of(process.pid) for process in left_behind)
    assert sessions == ["a session of its own", "a session whose leader is gone", "the caller's session"]
    assert len(demo.journal("end")) == 1


def session_of(pid: int) -> str:
    session = os.getsid(pid)
    if session == os.getsid(0):
        return "the caller's session"
    return "a session of its own" if session == pid else "a session whose leader is gone"
