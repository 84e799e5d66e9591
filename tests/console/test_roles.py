"""Who may do what: what is not allowed is neither offered nor done. Who did what: the audit and its filters."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from console_svc.audit.sentences import KINDS, SENTENCES
from contentgen.rpcs import RPCS
from tests.console.conftest import CLIENT, REVIEWER, VIEWER, Place, present
from tests.harness.console import Answer, Visitor
from tests.harness.waiting import wait_until

pytestmark = pytest.mark.browser

LATER = datetime(2031, 5, 7, 9, tzinfo=UTC)
LIMITS = ("max_concurrent_tasks", "max_pending_tasks", "max_priority", "max_starts_per_minute", "max_asset_bytes")
HOOK = "https://news.example/hook"
WAITS_FOR_REVIEW = "</b> to review"
"""The end of a figure of how many contents wait for their review."""
OFFERS = [
    ((VIEWER, CLIENT), "/accounts", 'href="/accounts/{account}"', ["New account"]),
    ((VIEWER, CLIENT), "/accounts/{account}", "press", [">Edit<", ">Deactivate<", ">Pause<"]),
    ((VIEWER, CLIENT), "/workers", "worker-1", ["Drain", "Resize", "Pause everything", "Pause account"]),
    ((REVIEWER,), "/", 'id="plot-counts"', ['href="/workers"']),
    ((CLIENT,), "/", 'id="plot-counts"', ['href="/audit"', 'href="/webhooks"']),
    ((VIEWER,), "/", 'id="feed"', ['href="/new"', 'href="/review"', WAITS_FOR_REVIEW]),
    ((VIEWER,), "/tasks", '<tr id="{task}"', ["All that match"]),
    (
        (VIEWER, REVIEWER),
        "/tasks/{task}",
        "only read",
        ["/tasks/{task}/cancel", "/tasks/{task}/run", 'id="change"'],
    ),
    (
        (VIEWER,),
        "/contents/{entry}",
        "{title}",
        ["/contents/{entry}/edit", "/contents/{entry}/reopen", "/contents/{entry}/delete"],
    ),
    ((VIEWER,), "/review/{content}", "{title}", ['/approve"', '/reject"', '/send-back"']),
    ((VIEWER,), "/pool/calendar?month=2031-05", "{title}", ["✎", 'draggable="true"']),
    ((VIEWER,), "/schedules", 'href="/schedules/{schedule}"', ["New schedule", "Run now"]),
    ((VIEWER,), "/schedules/{schedule}", "only read", ['id="field-cron"']),
    ((VIEWER,), "/webhooks", 'href="/webhooks/{webhook}"', ["New webhook"]),
    ((VIEWER,), "/webhooks/{webhook}", "publish.failed", [HOOK, "Send a ping", "New secret"]),
    ((VIEWER,), "/audit", "<code>WebhookService/CreateWebhook</code>", []),
]
"""To whom a page does not offer what it offers to an operator, with a text that they are shown."""
OFFERS_TO_CLIENTS = [("/tasks/{task}", "/tasks/{task}/cancel"), ("/", 'href="/new"'), ("/tasks", "All that match")]
ACCOUNT = {"name": "new", "weight": "1", "budget_mode": "soft", "max_cost_per_month": "0", **dict.fromkeys(LIMITS, "0")}
FORMS = [
    ("/accounts/new", ACCOUNT, "AccountService/CreateAccount"),
    ("/accounts/{account}/deactivate", {}, "AccountService/DeactivateAccount"),
    ("/tasks/{task}/cancel", {}, "TaskService/CancelTask"),
    ("/tasks/{task}/run", {}, "TaskService/UpdateTask"),
    ("/tasks/{task}", {"priority": "1"}, "TaskService/UpdateTask"),
    ("/contents/{entry}/reopen", {}, "ContentService/ReopenContent"),
    ("/contents/{content}/delete", {}, "ContentService/DeleteContent"),
    ("/contents/{content}/edit", {"title": "another", "etag": "{etag}"}, "ContentService/UpdateContent"),
    ("/review/{content}/approve", {"etag": "{etag}"}, "ContentService/ReviewContent"),
    ("/review/{content}/reject", {"etag": "{etag}", "reason": "x"}, "ContentService/ReviewContent"),
    (
        "/pool/change",
        {"content_id": "{entry}", "zone": "UTC", "priority": "9"},
        "ContentService/UpdatePublishPoolEntry",
    ),
    ("/schedules/{schedule}/delete", {}, "ScheduleService/DeleteSchedule"),
    ("/webhooks/{webhook}/delete", {}, "WebhookService/DeleteWebhook"),
    ("/workers/drain", {"worker_id": "worker-1"}, "WorkerPoolService/DrainWorker"),
    ("/workers/undrain", {"worker_id": "worker-1"}, "WorkerPoolService/UndrainWorker"),
    ("/workers/resize", {"worker_id": "worker-1", "slots": "9"}, "WorkerPoolService/ResizeWorker"),
    ("/workers/pause", {}, "WorkerPoolService/PauseDispatch"),
    ("/workers/resume", {}, "WorkerPoolService/ResumeDispatch"),
]
"""What a viewer may not send, and the method that its role may not call."""


@pytest.fixture(scope="module")
def ids(place: Place) -> dict[str, str]:
    """One thing of each kind, which nobody changes."""
    client, account = place.client, place.account
    content = place.article("only read")
    entry = place.article("only read", auto_approve=True)["content_id"]
    client.update_publish_pool_entry(entry, schedule_time=LATER)
    things = {
        "account": account,
        "task": place.submit("only read", schedule_time=LATER),
        "content": content["content_id"],
        "title": content["title"],
        "etag": content["etag"],
        "entry": entry,
        "schedule": client.create_schedule(account, "0 9 1 1 *", {"topic": "only read"})["schedule_id"],
        "webhook": client.create_webhook(HOOK, ["publish.failed"])["webhook_id"],
    }
    return {kind: str(value) for kind, value in things.items()}


@pytest.fixture(scope="module")
def visitors(place: Place) -> dict[str, Visitor]:
    return {token: place.visitor(token) for token in (VIEWER, CLIENT, REVIEWER)}


def test_what_a_role_may_not_do_is_not_offered(
    place: Place, operator: Visitor, visitors: dict[str, Visitor], ids: dict[str, str]
) -> None:
    def offered(visitor: Visitor, path: str, offers: list[str], shown: str = "") -> list[str]:
        address = path.format(**ids)
        answer = visitor.get(address).says(shown.format(**ids), status=200)
        assert answer.url == place.console.url + address
        return [offer for offer in offers if offer.format(**ids) in answer.text]

    for tokens, path, shown, offers in OFFERS:
        for token in tokens:
            assert offered(visitors[token], path, offers, shown) == [], (token, path)
    assert place.content(int(ids["content"]))["review_holder"] is None  # an article that another holds offers nothing
    for _, path, shown, offers in OFFERS:
        assert offered(operator, path, offers, shown) == offers
    for path, offer in OFFERS_TO_CLIENTS:
        assert offered(visitors[CLIENT], path, [offer]) == [offer]


def test_what_a_role_may_not_do_is_refused(place: Place, visitors: dict[str, Visitor], ids: dict[str, str]) -> None:
    def refused(token: str, path: str, fields: dict[str, str]) -> tuple[int, str]:
        sent = {name: text.format(**ids) for name, text in fields.items()}
        answer = visitors[token].post(path.format(**ids), sent)
        return answer.status, answer.text

    def pool() -> tuple[object, ...]:
        workers = client.get_worker_pool_status()["worker_statuses"]
        return [(worker["worker_id"], worker["slots"]) for worker in workers], client.get_dispatch_status()

    client = place.client
    pool_before, accounts_before = pool(), len(list(client.iter_accounts()))
    for path, fields, method in FORMS:
        for token in (VIEWER, CLIENT) if path.startswith(("/accounts", "/workers")) else (VIEWER,):
            status, text = refused(token, path, fields)
            assert (status in {400, 403}, method in text) == (True, True), path  # 400: a form that says so itself
    for path, fields in (
        ("/new", {"account_id": "1", "topic": "no"}),
        ("/tasks/move", {"do": "cancel", "task": "{task}"}),
    ):
        assert refused(VIEWER, path, fields)[0] == 403
    chinese = visitors[VIEWER].post(f"/accounts/{place.account}/deactivate", {}, Accept_Language="zh-CN").text
    assert re.search('<span title=".+">您的.+</span>', chinese)
    assert present(client.get_account(place.account))["active"]
    assert present(client.get_task_status(ids["task"]))["status"] == "pending"
    content = place.content(int(ids["content"]))
    assert (content["title"], content["review_status"]) == (ids["title"], "pending_review")
    (entry,) = [entry for entry in client.iter_publish_pool() if entry["content_id"] == int(ids["entry"])]
    assert (entry["priority"], entry["status"]) == (5, "pending")
    assert client.get_schedule(int(ids["schedule"]))
    assert client.get_webhook(int(ids["webhook"]))
    assert (pool(), len(list(client.iter_accounts()))) == (pool_before, accounts_before)


def test_a_page_that_a_role_may_not_see_is_refused(visitors: dict[str, Visitor], ids: dict[str, str]) -> None:
    for token, path, status in (
        (REVIEWER, "/workers", 403),
        (CLIENT, "/audit", 403),
        (CLIENT, "/webhooks", 403),
        (VIEWER, "/tasks/move?do=cancel&task={task}", 403),
    ):
        assert visitors[token].get(path.format(**ids)).status == status, path


def test_a_client_sees_its_accounts_alone(place: Place, visitors: dict[str, Visitor]) -> None:
    client, visitor = place.client, visitors[CLIENT]
    other_account = client.create_account("other")["account_id"]
    task_id = client.submit_task(other_account, "a secret", schedule_time=LATER)
    schedule_id = client.create_schedule(other_account, "0 9 1 1 *", {"topic": "foreign"})["schedule_id"]
    entry_task = client.wait(client.submit_task(other_account, "of the other", auto_approve=True), timeout=60)
    content_id = present(entry_task["content_id"])
    for path, secret in (
        ("/tasks", "a secret"),
        ("/schedules", f"/schedules/{schedule_id}"),
        ("/pool", f'id="entry-{content_id}"'),
    ):
        assert secret not in visitor.get(path).text
    for path in (f"/tasks/{task_id}", f"/schedules/{schedule_id}"):
        assert visitor.get(path).status == 404
    fields = {"account_id": str(other_account), "cron": "0 9 1 1 *", "time_zone": "UTC", "topic": "x"}
    assert visitor.post("/schedules/new", fields).status == 403
    assert visitor.post(f"/pool/{content_id}/remove", {}).status == 200
    assert content_id in {entry["content_id"] for entry in client.iter_publish_pool(statuses="pending")}


# The audit.


def _rows(visitor: Visitor, query: str) -> str:
    """Returns the body of the page's table."""
    answer = visitor.get(f"/audit?{query}").says(status=200)
    return answer.text.partition("<tbody>")[2]


def test_calls_are_found_by_who_what_and_outcome(place: Place, operator: Visitor) -> None:
    schedule_id = place.client.create_schedule(place.account, "0 9 * * *", {"topic": "audited"})["schedule_id"]
    viewer, of_refused = place.visitor(VIEWER), "actor=viewer&outcome=refused"
    before = _rows(operator, of_refused).count("DeleteSchedule")
    viewer.post(f"/schedules/{schedule_id}/delete", {})
    created = _rows(operator, "method=ScheduleService/CreateSchedule")
    link = f'<a href="/schedules/{schedule_id}">schedule <span translate="no">{schedule_id}</span></a>'
    assert f"</b> created {link} <code>" in created
    assert "ScheduleService/DeleteSchedule" not in created
    wait_until(
        lambda: _rows(operator, of_refused).count("DeleteSchedule") > before, within=20, what="the refusal is recorded"
    )
    refused = _rows(operator, of_refused)
    assert "PERMISSION_DENIED ROLE_FORBIDDEN" in refused
    assert 'Not done: <b translate="no">viewer</b> deleted a schedule <code>' in refused
    assert "CreateSchedule" not in refused
    assert "PERMISSION_DENIED" not in _rows(operator, "outcome=ok")
    assert link in _rows(operator, f"account={place.account}&from=2020-01-01T00:00")
    assert "<tr>" not in _rows(operator, "to=2020-01-01T00:00")
    assert "No call is like that" in operator.get("/audit?actor=nobody").text


def test_chinese_sentences_say_what_was_done(place: Place, operator: Visitor) -> None:
    account = place.client.create_account("told")["account_id"]  # its submits share an event with no others
    task_id = place.client.submit_task(account, "told", schedule_time="2099-01-31T08:00:00Z")
    said = f'</b> 提交<a href="/tasks/{task_id}">任务 <span translate="no">{task_id}</span></a> <code>'

    def page(method: str) -> Answer:
        return operator.get(f"/audit?method={method}", Accept_Language="zh-CN")

    wait_until(lambda: said in page("TaskService/SubmitTask").text, within=20, what="the submit is told")
    place.client.update_task(task_id, priority=9, tone="dry")
    page("TaskService/UpdateTask").says(
        '<li>优先级：<span translate="no">5</span> → <span translate="no">9</span></li>', "<li>语气</li>"
    ).lacks("dry")
    place.client.update_account(place.client.create_account("told")["account_id"], max_priority=10)
    page("AccountService/UpdateAccount").says(
        '<li>最高优先级：<span translate="no">0</span> → <span translate="no">10</span>'
    )
    place.client.review_content(place.article("told").get("content_id", 0), approve=False)
    page("ContentService/ReviewContent").says("</b> 拒绝<a ")


def test_each_call_that_is_audited_has_a_sentence() -> None:
    assert {key.partition(" ")[0] for key in SENTENCES} == {name for name, rpc in RPCS.items() if rpc.changes}
    assert KINDS.keys() == {rpc.changes.kind for rpc in RPCS.values() if rpc.changes}


def test_pages_miss_none_of_the_same_time(place: Place, operator: Visitor) -> None:
    account_ids = [account["account_id"] for account in place.client.iter_accounts()]
    accounts = [place.client.create_account(f"a {number}")["account_id"] for number in range(60)]
    ids: list[str] = []
    query = "method=AccountService/CreateAccount"
    while query:
        answer = operator.get(f"/audit?{query}").says(status=200)
        ids += re.findall(r'<a href="/accounts/(\d+)">', answer.text.partition("<tbody>")[2])
        query = answer.text.partition('rel="next" href="/audit?')[2].partition('"')[0].replace("&amp;", "&")
    assert sorted(int(text) for text in ids) == sorted({*account_ids, *accounts})
