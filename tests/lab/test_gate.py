"""What `make check` takes for changed, and what a gate says of its steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.harness.processes import living, process_of
from tests.harness.waiting import wait_until
from verification.gate.check import ROOT, SUBJECTS, changed, levels_of_tests, nearest_tests, related_tests
from verification.gate.steps import Gate, Need, Outcome, Step, chosen, run, table

pytestmark = pytest.mark.lab


# What `make check` takes for changed, and the tests that it takes for those of the subject.


PRODUCT = ("console_svc", "contentgen", "old_application", "protos", "scheduler_svc", "worker_svc")
WHO = {f"GIT_{who}_{what}": "someone@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with modules, tests that import them or are of their subject, and others."""
    monkeypatch.setitem(SUBJECTS, "shop/stock", "prices/")
    write(tmp_path, "shop/till.py", "shop/stock.py", "orders/work.py")
    write_test(tmp_path, "contract", "tests/prices/test_nothing.py")
    write_test(tmp_path, "contract", "tests/prices/test_prices.py", "from shop import (\n    stock,\n    till,\n)\n")
    write_test(tmp_path, "integration", "tests/orders/test_till.py", "from shop.till import Till\n")
    write_test(tmp_path, "e2e", "tests/prices/test_days.py", "import shop.till\n")
    write_test(tmp_path, "unit", "tests/prices/test_sums.py", "import shop.till\n")
    return tmp_path


def write_test(root: Path, level: str, path: str, imports: str = "") -> None:
    write(root, path, text=f"{imports}pytestmark = pytest.mark.{level}\n")


def write(root: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")


def git(root: Path, *arguments: str) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1", **WHO}
    subprocess.run(["git", *arguments], cwd=root, env=environment, capture_output=True, check=True, timeout=30)


def test_a_file_has_the_tests_of_its_subject_and_those_that_import_it_the_nearest_first(tree: Path) -> None:
    levels = levels_of_tests(tree)
    sums, till, nothing, prices, days = levels
    assert related_tests("shop/till.py", levels, tree) == [sums, till, prices, days], "the cheapest first"
    assert related_tests("shop/stock.py", levels, tree) == [prices, sums, nothing, days]
    assert related_tests(till, levels, tree) == [till]
    assert related_tests("orders/work.py", levels, tree) == []
    assert nearest_tests(["shop/stock.py", "shop/till.py", days], levels, tree) == [days, prices, sums, till, nothing]


def test_each_file_of_the_product_has_tests() -> None:
    levels = levels_of_tests(ROOT)
    files = (path for source in PRODUCT for path in (ROOT / source).rglob("*.*"))
    paths = [path.relative_to(ROOT).as_posix() for path in files if path.suffix in {".html", ".proto", ".py"}]
    assert [path for path in paths if not related_tests(path, levels, ROOT)] == []


def test_each_test_file_has_a_level(tree: Path) -> None:
    assert [*levels_of_tests(tree).values()] == ["unit", "integration", "contract", "contract", "e2e"]


def test_what_a_branch_has_and_what_nobody_committed_has_changed(tree: Path) -> None:
    git(tree, "init", "--quiet", "--initial-branch=main")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message=Open the shop")
    assert changed(tree) == []
    git(tree, "switch", "--quiet", "--create=branch")
    write(tree, "shop/till.py", text="drawer = 1\n")
    git(tree, "commit", "--quiet", "--all", "--message=Add a drawer")
    write(tree, "shop/stock.py", text="tea = 1\n")
    write(tree, "shop/new.py")
    (tree / "tests/prices/test_days.py").unlink()
    assert changed(tree) == ["shop/new.py", "shop/stock.py", "shop/till.py"]


# What a gate says of its steps, and that it leaves none of their processes.


def shell(name: str, line: str, *, alone: bool = False) -> Step:
    return Step(name, ("/bin/sh", "-c", line), alone=alone)


def test_a_failure_stops_no_other_step_and_each_output_is_whole(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    steps = [shell("bad", "echo one; echo two >&2; exit 3"), shell("good", "echo three")]
    assert run(steps, 2) == 1
    printed = capfdbinary.readouterr().out.decode()
    assert "=== bad: failed with 3 after 0:00\none\ntwo\n" in printed
    assert "=== good: passed after 0:00\nthree\n" in printed
    assert [line.split()[0] for line in printed.splitlines()[-4:]] == ["step", "bad", "good", "all"]


def test_steps_run_side_by_side(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # each waits for the other
    assert run([shell("reads", f"read x < {tmp_path}/fifo"), shell("writes", f"echo x > {tmp_path}/fifo")], 2) == 0


def test_nothing_runs_without_what_the_steps_need(tmp_path: Path) -> None:
    needy = [shell("needy", f"touch {tmp_path}/ran", alone=alone) for alone in (False, True)]
    assert run(needy, first=[shell("setup", "exit 1")]) == 1
    assert not (tmp_path / "ran").exists()


def test_what_measures_runs_when_all_others_have_ended_even_badly(tmp_path: Path) -> None:
    measure = shell("measure", f"touch {tmp_path}/measured; rm {tmp_path}/a {tmp_path}/b", alone=True)
    assert run([measure, *(shell(name, f"touch {tmp_path}/{name}; exit 1") for name in "ab")], 2) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["measured"]


@pytest.mark.parametrize("check", ["no-such-program", "false"])
def test_a_step_whose_need_is_not_met_is_skipped_and_says_why(check: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([Step("images", ("false",), Need("an engine", (check,)))]) == 0
    assert "skipped: needs an engine" in capfd.readouterr().out


def test_a_process_that_a_step_leaves_is_ended(tmp_path: Path) -> None:
    assert run([shell("careless", f"sleep 600 & echo $! > {tmp_path}/pid")]) == 0
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: is_gone(pid), within=60, what="the end of the process that the step left")


def test_an_interrupt_ends_the_steps_and_begins_no_other(tmp_path: Path) -> None:
    def interrupt() -> None:
        wait_until((tmp_path / "pid").exists, within=60, what="the step")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)  # another thread would not wake it

    thread = threading.Thread(target=interrupt)
    thread.start()
    long = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 600"
    steps = [shell("long", long), shell("next", f"touch {tmp_path}/ran")]
    with pytest.raises(SystemExit, match="130"):
        run(steps)
    thread.join()
    assert is_gone(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "ran").exists()


def test_the_cost_of_a_step_is_that_of_its_children_too() -> None:
    burn = f"'{sys.executable}' -c 'import time\nwhile time.process_time() < 0.2: pass'; true"
    [outcome] = Gate().run([shell("busy", burn)])
    assert outcome.cpu > 0.2


def test_the_table_says_how_busy_the_cores_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    outcomes = [Outcome("test", "passed", 90.0, 120.0), Outcome("lint", "failed with 1", 61.5, 60.0)]
    assert table(outcomes, 100.0).splitlines() == [
        "step     wall      CPU  result",
        "test     1:30     2:00  passed",
        "lint     1:01     1:00  failed with 1",
        "all      1:40     3:00  90% of 2 cores",
    ]


def test_steps_are_chosen_by_name_in_the_order_of_the_gate() -> None:
    steps = [shell("one", "true"), shell("two", "true"), shell("three", "true")]
    assert chosen(steps, []) == steps
    assert [step.name for step in chosen(steps, ["three", "one"])] == ["one", "three"]
    with pytest.raises(SystemExit, match="no step four; there are one, two, three"):
        chosen(steps, ["four"])


def is_gone(pid: int) -> bool:
    process = process_of(pid)
    return process is None or not living([process])
