"""The console beside a large database: how quick each page is, how soon a move is seen, what open pages cost."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import psutil
from playwright.async_api import Page, async_playwright

from contentgen import AsyncContentGenerationClient, NewTask
from lab.benchmarks import scenario
from lab.benchmarks.goals import PAGE_MS, SEEN_MS, Figure, Goal
from lab.benchmarks.stack import Stack
from tests.harness.console import Console
from tests.harness.process import found_program

PENDING = 10
"""One task of so many still waits; the others have ended."""
BATCH = 100
TO_REVIEW = 100
LIVE_PAGES = 100
PATIENCE_S = 30.0
_LINK = re.compile(r'<a href="([^"]+)"')
_SINGLE = (
    ("/tasks", r"/tasks/task-\w+"),
    ("/accounts", r"/accounts/\d+"),
    ("/contents", r"/contents/\d+"),
    ("/review", r"/review/\d+"),
)
"""Lists, and the addresses of their things."""
_ROW_SEEN = """
    ([topic]) => new Promise((seen) => {
        const look = () => {
            const row = [...document.querySelectorAll("tr")].some((it) => it.textContent.includes(topic));
            if (row) seen(Date.now()); else requestAnimationFrame(look);
        };
        look();
    })
"""


async def figures(stack: Stack, tasks: int, samples: int, workers: int, depth: int) -> list[Figure]:
    """Fills the database with so many tasks first."""
    await _fill(stack, tasks, workers, depth)
    async with _session(stack) as (console, http):
        results = []
        for path, times in (await _timed(http, samples)).items():
            name, note = f"page {path}, first byte, p95", f"p50 {_part(times, 50):.0f} ms"
            results.append(Figure(name, _part(times, 95), "ms", tasks, PAGE_MS, note))
        memory = await _memory(console, http)
        return [*results, *await _in_a_browser(console, stack, samples), memory]


async def pages(stack: Stack, samples: int) -> dict[str, list[float]]:
    """Returns the milliseconds to the first byte of each page, the shortest first, beside a database that is filled."""
    async with _session(stack) as (_, http):
        return await _timed(http, samples)


async def _fill(stack: Stack, tasks: int, workers: int, depth: int) -> None:
    pending = tasks // PENDING // BATCH * BATCH
    completed = tasks // BATCH * BATCH - pending
    await scenario.load(stack, completed, batch=BATCH, in_flight=4)
    async with AsyncContentGenerationClient(stack.target) as client:
        for_review: NewTask = {"account_id": stack.accounts[0], "topic": "an article to look at", "auto_approve": False}
        await client.submit_tasks([for_review] * TO_REVIEW)
    async with scenario.noop_workers(stack, workers, depth) as running:
        await scenario.drain(stack, running, completed + TO_REVIEW)
    await scenario.load(stack, pending, batch=BATCH, in_flight=4)


@asynccontextmanager
async def _session(stack: Stack) -> AsyncIterator[tuple[Console, aiohttp.ClientSession]]:
    with await asyncio.to_thread(Console(stack.folder, stack.target).start) as console:
        async with aiohttp.ClientSession(console.url, connector=aiohttp.TCPConnector(limit=0)) as http:
            yield console, http


async def _pages(http: aiohttp.ClientSession) -> list[str]:
    async with http.get("/") as answer:
        navigation = (await answer.text()).partition("<nav")[2].partition("</nav>")[0]
    return [*_LINK.findall(navigation), *[await _first(http, *page) for page in _SINGLE]]


async def _first(http: aiohttp.ClientSession, path: str, address: str) -> str:
    async with http.get(path) as answer:
        (address_found, *_) = re.findall(f'href="({address})["?]', await answer.text())
    return str(address_found)


async def _timed(http: aiohttp.ClientSession, samples: int) -> dict[str, list[float]]:
    return {re.sub(r"/(task-)?\w*\d\w*$", "/ID", path): await _page(http, path, samples) for path in await _pages(http)}


async def _page(http: aiohttp.ClientSession, path: str, samples: int) -> list[float]:
    """Returns the times of requests one after the other."""
    times = []
    for _ in range(samples):
        begin = time.perf_counter()
        async with http.get(path) as answer:
            times.append((time.perf_counter() - begin) * 1000)
            assert answer.status == 200, path
            await answer.read()
    return sorted(times)


def _part(times: Sequence[float], percent: int) -> float:
    return times[len(times) * percent // 100]


async def _memory(console: Console, http: aiohttp.ClientSession) -> Figure:
    process = psutil.Process(console.pid)
    memory = process.memory_info().rss
    async with AsyncExitStack() as open_pages:
        for _ in range(LIVE_PAGES):
            answer = await open_pages.enter_async_context(http.get("/tasks/live", timeout=aiohttp.ClientTimeout(None)))
            await answer.content.readline()
        growth = process.memory_info().rss - memory
    note = f"the console has {(memory + growth) / 1e6:.0f} MB then"
    return Figure("open live pages, their memory", growth / 1e6, "MB", LIVE_PAGES, None, note)


async def _in_a_browser(console: Console, stack: Stack, samples: int) -> list[Figure]:
    """Measures Chromium's own times; none where it is not installed."""
    executable = found_program("chromium")
    if executable is None:
        return []
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"]) as browser,
    ):
        page = await browser.new_page(base_url=console.url)
        return [await _interactive(page, samples), await _seen(page, stack, samples)]


async def _interactive(page: Page, samples: int) -> Figure:
    times = []
    for _ in range(samples):
        await page.goto("/tasks")
        interactive = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
        times.append(float(await page.evaluate(interactive)))
    return _p50("page /tasks in Chromium, interactive", times)


async def _seen(page: Page, stack: Stack, samples: int) -> Figure:
    """Measures from the call that submits a task to its row on the screen."""
    times = []
    async with AsyncContentGenerationClient(stack.target) as client:
        for sample in range(samples):
            topic = f"a topic to wait for {sample}"
            await page.goto("/tasks?topic=wait")
            waiting = asyncio.create_task(page.evaluate(_ROW_SEEN, [topic]))
            await asyncio.sleep(1.0)  # the page has its stream, and is at rest
            begin = time.time() * 1000
            await client.submit_task(stack.accounts[0], topic)
            async with asyncio.timeout(PATIENCE_S):
                times.append(float(await waiting) - begin)
    return _p50("a submit seen on an open page", times, SEEN_MS)


def _p50(name: str, times: Sequence[float], goal: Goal | None = None) -> Figure:
    ordered = sorted(times)
    return Figure(f"{name}, p50", _part(ordered, 50), "ms", len(ordered), goal, f"p95 {_part(ordered, 95):.0f} ms")
