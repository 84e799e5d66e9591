"""The review desk: the queue, an article beside its brief, decisions by mouse, by keys and by forms alone."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import BORIS, PHONE, REVIEWER, Place
from tests.harness.console import Answer, Visitor
from tests.harness.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("anna")]


@pytest.fixture(autouse=True)
def _nothing_waits(place: Place) -> None:
    """Deletes the contents that other tests have left in the queue."""
    for content in place.client.iter_contents(review_status="pending_review"):
        place.client.delete_content(content["content_id"])


def fields_of(answer: Answer) -> dict[str, str]:
    return {"etag": re.findall(r'name="etag" value="([^"]+)"', answer.text)[0]}


def opened(answer: Answer) -> int:
    """Returns the article that a desk shows."""
    match = re.search(r"/review/(\d+)", answer.url)
    assert match, answer.url
    return int(match[1])


def test_an_empty_desk_says_where_articles_come_from(place: Place, anna: Visitor) -> None:
    assert "contentgen task submit" in anna.get("/review").text
    assert "Show all that waits" in anna.get("/review?category=none").text


class TestQueue:
    def test_the_oldest_is_opened_beside_its_brief(self, place: Place, anna: Visitor) -> None:
        first = place.article("tea", keywords="leaves", requirements="two tables", tone="dry", labels={"team": "news"})
        place.article("coffee")
        desk = anna.get("/review").says("leaves", "two tables", "dry", "team=news", "You hold it", "coffee")
        assert opened(desk) == first["content_id"]

    def test_a_filter_holds_over_decisions(self, place: Place, anna: Visitor) -> None:
        contents = [place.article(f"{name}", category=name) for name in ("food", "sport", "food")]
        desk = anna.get("/review?category=food")
        assert opened(desk) == contents[0]["content_id"]
        desk = anna.post(f"/review/{contents[0]['content_id']}/approve?category=food", fields_of(desk))
        assert opened(desk) == contents[2]["content_id"]
        assert f'id="queue-{contents[1]["content_id"]}"' not in desk.text

    def test_the_ticked_ones_are_approved_together_or_not_at_all(self, place: Place, anna: Visitor) -> None:
        contents = [place.article(f"one of {number}") for number in range(3)]
        desk = anna.get(f"/review/{contents[0]['content_id']}")
        ticks = re.findall(r'name="tick" value="([^"]+)"', desk.text)
        place.client.update_content(contents[1]["content_id"], title="changed since")
        body = anna.post("/review/approve", {"tick": ticks[:2]}).says("None is approved")
        assert place.content(contents[0]["content_id"])["review_status"] == "pending_review"
        ticks = re.findall(r'name="tick" value="([^"]+)"', body.text)
        desk = anna.post("/review/approve", {"tick": ticks[:2]}).says("Approved 2 articles.")
        assert opened(desk) == contents[2]["content_id"]
        ids = ",".join(str(content["content_id"]) for content in contents[:2])
        anna.post("/review/undo", {"decided": ids})
        assert {place.content(content["content_id"])["review_status"] for content in contents} == {"pending_review"}
        assert "Tick some first." in anna.post("/review/approve", {}).text


class TestDecisions:
    def test_approve_with_a_time(self, place: Place, anna: Visitor, content_id: int) -> None:
        fields = {**fields_of(anna.get(f"/review/{content_id}")), "when": "scheduled", "zone": "Asia/Shanghai"}
        anna.post(f"/review/{content_id}/approve", {**fields, "at": "soon"}).says("Say when to publish.", status=400)
        anna.post(f"/review/{content_id}/approve", {**fields, "at": "2030-01-31T12:00"})
        times = {entry["content_id"]: entry["scheduled_at"] for entry in place.client.iter_publish_pool()}
        assert times[content_id] == "2030-01-31T04:00:00+00:00"

    def test_reject_needs_a_reason(self, place: Place, anna: Visitor, content_id: int) -> None:
        fields = fields_of(anna.get(f"/review/{content_id}"))
        assert "Say why you reject it." in anna.post(f"/review/{content_id}/reject", {**fields, "reason": " "}).text
        assert "Rejected:" in anna.post(f"/review/{content_id}/reject", {**fields, "reason": "two facts"}).text
        content = place.content(content_id)
        assert (content["review_status"], content["review_comment"]) == ("rejected", "two facts")
        assert content["reviewer"] == "anna"

    def test_what_is_sent_back_is_written_anew(self, place: Place, anna: Visitor) -> None:
        client, content_id = place.client, place.article("sent back", requirements="long")["content_id"]
        fields = fields_of(anna.get(f"/review/{content_id}"))
        assert "Say what to do better." in anna.post(f"/review/{content_id}/send-back", {**fields, "note": ""}).text
        anna.post(f"/review/{content_id}/send-back", {**fields, "note": "shorter"}).says("Sent back:")
        old_content = place.content(content_id)
        assert old_content["review_status"] == "rejected"
        match = re.fullmatch(r"shorter → (task-\w+)", old_content["review_comment"] or "")
        assert match
        new_task = client.wait(match[1], timeout=60)
        assert (new_task["regenerates_content_id"], new_task["requirements"]) == (content_id, "long\n\nshorter")
        assert f"/tasks/{match[1]}" in anna.get(f"/contents/{content_id}").text
        assert f"/contents/{content_id}" in anna.get(f"/review/{new_task['content_id']}").text
        client.review_content(new_task["content_id"] or 0, approve=True)
        assert "Superseded by" in anna.get(f"/contents/{content_id}").text

    def test_only_what_was_read_is_decided_on(self, place: Place, anna: Visitor, content_id: int) -> None:
        fields = fields_of(anna.get(f"/review/{content_id}"))
        place.client.update_content(content_id, title="changed since")
        cases = {"approve": {}, "reject": {"reason": "kept text"}, "send-back": {"note": "kept text"}}
        for action, texts in cases.items():
            desk = anna.post(f"/review/{content_id}/{action}", {**fields, **texts})
            desk.says("Someone has changed it", "changed since", *texts.values(), status=409)
        assert place.content(content_id)["review_status"] == "pending_review"

    def test_what_somebody_else_has_decided_stays_so(self, place: Place, anna: Visitor, content_id: int) -> None:
        fields = fields_of(anna.get(f"/review/{content_id}"))
        place.client.review_content(content_id, approve=False, comment="no")
        anna.post(f"/review/{content_id}/approve", fields).says("Someone else has decided already.", status=409)
        assert place.content(content_id)["review_comment"] == "no"

    def test_an_approval_is_not_taken_back_once_a_publisher_has_it(
        self, place: Place, anna: Visitor, content_id: int
    ) -> None:
        anna.post(f"/review/{content_id}/approve", fields_of(anna.get(f"/review/{content_id}")))
        entries = place.client.claim_publish_pool(limit=1_000)
        assert content_id in {entry["content_id"] for entry in entries}
        assert "Not taken back:" in anna.post("/review/undo", {"decided": str(content_id)}).text
        assert place.content(content_id)["review_status"] == "approved"


class TestEditors:
    def test_two_editors_never_hold_the_same_article(self, place: Place, anna: Visitor) -> None:
        content_ids = [place.article(f"for two {number}")["content_id"] for number in range(2)]
        boris = place.visitor(BORIS)
        assert opened(anna.get("/review")) == content_ids[0]
        assert opened(boris.get("/review").says("anna holds it")) == content_ids[1]
        place.visitor(REVIEWER).get("/review").says("Others hold all that waits.")
        boris.get(f"/review/{content_ids[0]}").says("anna holds it, until").lacks('/approve"')

    def test_a_claim_is_renewed_and_ends_when_its_page_is_left(
        self, place: Place, anna: Visitor, content_id: int
    ) -> None:
        desk = anna.get(f"/review/{content_id}")
        expiry = re.findall(r'data-until="([^"]+)"', desk.text)[0]
        answer = anna.post(f"/review/{content_id}/claim", {})
        later_expiry = re.findall(r'data-until="([^"]+)"', answer.text)[0]
        assert later_expiry > expiry
        anna.post(f"/review/{content_id}/release", {"until": expiry})
        assert place.content(content_id)["review_holder"] == "anna", "a page that was left before ends nothing"
        boris = place.visitor(BORIS)
        boris.get(f"/review/{content_id}")
        boris.post(f"/review/{content_id}/release", {"until": later_expiry})
        assert place.content(content_id)["review_holder"] == "anna"
        anna.post(f"/review/{content_id}/release", {"until": later_expiry})
        assert place.content(content_id)["review_holder"] is None


class TestBrowser:
    @pytest.mark.costly("every key of the desk in a browser", seconds=5)
    def test_by_keys_alone(self, place: Place, page: Page) -> None:
        content_ids = [place.article(f"by keys {number}")["content_id"] for number in range(5)]
        page.goto("/review")

        def shows(title: str) -> None:
            expect(page.locator(".paper h2")).to_have_text(title)
            page.wait_for_load_state()

        shows("by keys 0")
        expect(page.locator(".article img")).to_have_js_property("naturalWidth", 60)
        page.keyboard.press("j")
        shows("by keys 1")
        page.keyboard.press("k")
        shows("by keys 0")
        page.keyboard.press("a")
        shows("by keys 1")
        expect(page.locator("#undo")).to_contain_text("by keys 0")
        assert place.content(content_ids[0])["review_status"] == "approved"
        page.keyboard.press("z")
        shows("by keys 0")
        assert place.content(content_ids[0])["review_status"] == "pending_review"
        page.keyboard.press("r")
        expect(page.get_by_label("Why")).to_be_focused()
        page.keyboard.type("a jazzy reason")
        page.keyboard.press("Control+Enter")
        shows("by keys 1")
        assert place.content(content_ids[0])["review_comment"] == "a jazzy reason"
        page.keyboard.press("b")
        page.keyboard.type("shorter")
        page.keyboard.press("Control+Enter")
        shows("by keys 2")
        assert place.content(content_ids[1])["review_status"] == "rejected"
        page.keyboard.press("e")
        page.wait_for_url(re.compile("/edit"))
        page.get_by_label("Title").fill("edited by keys")
        page.keyboard.press("Control+Enter")
        shows("edited by keys")
        page.keyboard.press("?")
        expect(page.get_by_text("undo, for 10 seconds")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_text("undo, for 10 seconds")).to_be_hidden()
        page.keyboard.press("a")
        shows("by keys 3")
        assert place.content(content_ids[2])["title"] == "edited by keys"
        page.keyboard.press("x")
        expect(page.locator(".current input")).to_be_checked()

    def test_an_undo_is_offered_for_ten_seconds(self, place: Place, page: Page) -> None:
        content_ids = [place.article(f"undone {number}")["content_id"] for number in range(2)]
        page.clock.install()
        page.goto(f"/review/{content_ids[0]}")
        page.keyboard.press("a")
        expect(page.locator("#undo")).to_be_visible()
        page.clock.run_for(10_000)
        expect(page.locator("#undo")).to_have_count(0)

    def test_an_article_is_free_once_its_page_is_left(self, place: Place, page: Page, content_id: int) -> None:
        page.goto(f"/review/{content_id}")
        assert place.content(content_id)["review_holder"] == "anna"
        page.goto("/contents")
        wait_until(
            lambda: place.content(content_id)["review_holder"] is None, within=10, what="anna holds it no longer"
        )

    def test_what_is_typed_stays_while_the_queue_is_loaded_anew(
        self, place: Place, page: Page, content_id: int
    ) -> None:
        page.goto(f"/review/{content_id}")
        page.locator(".current input").check()
        page.keyboard.press("r")
        page.keyboard.type("half a rea")
        another = place.article("comes in")["content_id"]
        page.evaluate("htmx.trigger('#queue', 'refresh')")
        expect(page.locator(f"#queue-{another}")).to_be_visible()
        expect(page.get_by_label("Why")).to_have_value("half a rea")
        expect(page.get_by_label("Why")).to_be_focused()
        expect(page.locator(".current input")).to_be_checked()

    def test_what_decides_is_in_sight_on_a_phone(self, place: Place, page: Page) -> None:
        place.article("手冲咖啡")
        page.set_viewport_size(PHONE)
        page.goto("/review")
        expect(page.get_by_role("button", name="Approve", exact=True)).to_be_in_viewport()


def test_ticks_survive_the_next_article(place: Place, page: Page) -> None:
    contents = [place.article(f"ticked {number}") for number in range(2)]
    page.goto(f"/review/{contents[0]['content_id']}")
    page.keyboard.press("x")
    expect(page.locator("#ticked")).to_have_text("1")
    page.keyboard.press("j")
    page.wait_for_url(f"**/review/{contents[1]['content_id']}*")
    expect(page.locator(f"#queue-{contents[0]['content_id']} input")).to_be_checked()
    page.keyboard.press("s")
    page.get_by_role("button", name="Tomorrow 09:00").click()
    expect(page.locator("#at")).to_have_value(re.compile(r"T09:00"))
