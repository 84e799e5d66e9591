"""The list of contents, the page of one, its editor, its files."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.console.conftest import ANNA, BORIS, NEWCOMER, VIEWER, Place, sign_in
from tests.console.review_world import Press
from tests.harness.console import Visitor
from tests.harness.creators import SVG
from tests.harness.pictures import sha256

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def place(newsroom: Place) -> Place:
    return newsroom


@pytest.fixture(scope="module")
def press(place: Place) -> Press:
    return Press(place)


@pytest.fixture(scope="module")
def anna(press: Press) -> Visitor:
    return press.place.visitor(ANNA)


def texts_of(press: Press, content_id: int) -> dict[str, str]:
    content = dict(press.now(content_id))
    return {
        name: str(content[name] or "") for name in ("title", "summary", "category", "cover_image", "body", "html_body")
    }


class TestList:
    def test_an_empty_list_says_what_to_do(self, place: Place) -> None:
        assert "contentgen task submit" in place.visitor(NEWCOMER).get("/contents").text

    def test_contents_are_found_by_words_and_states_in_the_address(self, press: Press, anna: Visitor) -> None:
        coffee = press.article("咖啡与茶", category="food", labels={"team": "news"})
        soup = press.article("winter soup", auto_approve=True)
        for query, contents in (
            ("", [coffee, soup]),
            (f"query={quote('咖啡')}", [coffee]),
            ("review=approved", [soup]),
            ("review=pending_review&category=food", [coffee]),
            ("label=team%3Dnews", [coffee]),
            ("publish=pending", [soup]),
            (f"account={press.place.account}&query=soup", [soup]),
            ("category=none", []),
        ):
            text = anna.get(f"/contents?{query}").text
            matches = [content for content in (coffee, soup) if f'id="content-{content["content_id"]}"' in text]
            assert matches == contents, query
        assert "No content is like that." in text

    @pytest.mark.parametrize("query", ["account=x", "score=high", "label=nothing", "before=yesterday", "account=0"])
    def test_what_can_not_be_read_comes_back(self, press: Press, anna: Visitor, query: str) -> None:
        page = anna.get(f"/contents?{query}&query=kept")
        assert page.status == 400
        assert 'value="kept"' in page.text
        assert "An account is a number" in page.text

    def test_in_chinese(self, press: Press) -> None:
        visitor = press.place.visitor(ANNA)
        visitor.get("/language/zh-CN")
        text = visitor.get("/contents").text
        assert "标题或主题" in text
        assert "待审核" in text


class TestContent:
    def test_a_page_tells_the_whole_story(self, press: Press, anna: Visitor) -> None:
        client, content = press.place.client, press.article("a story", keywords="tea", requirements="short")
        content_id = content["content_id"]
        press.changed(content_id, title="a better story")
        client.review_content(content_id, approve=True, comment="well done")
        for entry in client.claim_publish_pool(limit=100):
            url = f"https://press.example/{entry['content_id']}"
            client.report_published(entry["content_id"], entry["claim_id"], url=url)
        text = anna.get(f"/contents/{content_id}").text
        for detail in (
            "a better story",
            "well done",
            f"https://press.example/{content_id}",
            content["task_id"],
            "tea",
            "short",
        ):
            assert detail in text
        assert "<del>a story</del>" not in text
        assert "<ins>better </ins>" in text
        assert "Take the decision back" not in text

    def test_a_decision_is_taken_back(self, press: Press, anna: Visitor) -> None:
        content_id = press.article("decided", auto_approve=True)["content_id"]
        assert "Take the decision back" in anna.get(f"/contents/{content_id}").text
        anna.post(f"/contents/{content_id}/reopen", {})
        assert press.now(content_id)["review_status"] == "pending_review"

    def test_who_may_delete_deletes(self, press: Press, anna: Visitor) -> None:
        content_id = press.article("not kept")["content_id"]
        assert "/delete" not in anna.get(f"/contents/{content_id}").text
        assert anna.post(f"/contents/{content_id}/delete", {}).status == 400
        operator = press.place.visitor()
        operator.get(f"/contents/{content_id}")
        assert f"Content {content_id} is deleted." in operator.post(f"/contents/{content_id}/delete", {}).text
        answer = operator.post(f"/contents/{content_id}/delete", {})
        assert (answer.status, "There is no such content." in answer.text) == (404, True)
        assert "is deleted" not in operator.get("/contents").text
        assert operator.get(f"/contents/{content_id}").status == 404

    def test_a_viewer_reads_and_changes_nothing(self, press: Press) -> None:
        content = press.article("only read")
        content_id, viewer = content["content_id"], press.place.visitor(VIEWER)
        text = viewer.get(f"/contents/{content_id}").text
        assert "only read" in text
        for path in ("edit", "reopen", "delete"):
            assert f"/contents/{content_id}/{path}" not in text
        assert viewer.post(f"/contents/{content_id}/reopen", {}).status == 400
        fields = {**texts_of(press, content_id), "title": "another", "etag": content["etag"]}
        answer = viewer.post(f"/contents/{content_id}/edit", fields)
        assert answer.status == 400
        assert press.now(content_id)["title"] == "only read"


class TestFiles:
    def test_a_picture_is_shown_and_anything_else_is_saved(self, press: Press, anna: Visitor) -> None:
        content = press.article("pictures")
        cover, svg = content["assets"]
        picture = anna.get(f"/assets/{cover['sha256']}/cover.png").headers
        assert picture["content-type"] == "image/png"
        assert picture["content-disposition"].startswith("inline")
        assert picture["content-length"] == str(cover["size"])
        file = anna.get(f"/assets/{svg['sha256']}/bad.svg")
        assert file.headers["content-type"] == "application/octet-stream"
        assert file.headers["content-disposition"].startswith("attachment")
        assert file.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in file.headers["content-security-policy"]
        assert file.text == SVG.decode()

    @pytest.mark.parametrize("name", [sha256(b"nothing"), "x" * 64, "..%2f..%2fetc"])
    def test_what_no_content_names_is_not_found(self, press: Press, anna: Visitor, name: str) -> None:
        assert anna.get(f"/assets/{name}/x.png").status == 404

    def test_nobody_reads_files_who_has_not_signed_in(self, press: Press) -> None:
        content = press.article("secret")
        page = Visitor(press.place.console.url).get(f"/assets/{content['assets'][0]['sha256']}/cover.png")
        assert "/login" in page.url


class TestEditor:
    def test_what_is_changed_is_saved_as_a_revision(self, press: Press, anna: Visitor) -> None:
        content = press.article("to be edited")
        content_id = content["content_id"]
        anna.get(f"/contents/{content_id}/edit")
        fields = {**texts_of(press, content_id), "body": "one\r\ntwo\r\n", "etag": content["etag"]}
        page = anna.post(f"/contents/{content_id}/edit?back=/contents", fields)
        assert page.url.endswith("/contents")
        assert "Saved." in page.text
        assert press.now(content_id)["body"] == "one\ntwo\n"
        assert press.now(content_id)["revision"] == 2
        unchanged_fields = {**texts_of(press, content_id), "etag": press.now(content_id)["etag"]}
        anna.post(f"/contents/{content_id}/edit?back=//elsewhere.example", unchanged_fields)
        assert press.now(content_id)["revision"] == 2, "nothing was changed"

    def test_bad_texts_come_back_beside_what_is_wrong(self, press: Press, anna: Visitor) -> None:
        content = press.article("bad texts")
        content_id = content["content_id"]
        anna.get(f"/contents/{content_id}/edit")
        fields = {**texts_of(press, content_id), "title": "t" * 256, "body": "kept", "etag": content["etag"]}
        page = anna.post(f"/contents/{content_id}/edit", fields)
        assert page.status == 400
        assert 'id="problem-title"' in page.text
        assert ">\nkept</textarea>" in page.text
        assert press.now(content_id)["revision"] == 1

    def test_of_two_editors_none_overwrites_the_other(self, press: Press, anna: Visitor) -> None:
        content = press.article("both edit")
        content_id, boris = content["content_id"], press.place.visitor(BORIS)
        for editor in (anna, boris):
            editor.get(f"/contents/{content_id}/edit")
        texts = {**texts_of(press, content_id), "etag": content["etag"]}
        anna.post(f"/contents/{content_id}/edit", {**texts, "body": "what anna wrote"})
        page = boris.post(f"/contents/{content_id}/edit", {**texts, "body": "what boris wrote"})
        assert page.status == 409
        assert "anna has saved another text" in page.text
        assert '<pre dir="auto">what anna wrote</pre>' in page.text
        assert ">\nwhat boris wrote</textarea>" in page.text
        assert press.now(content_id)["body"] == "what anna wrote"
        etag = press.now(content_id)["etag"]
        assert f'name="etag" value="{etag}"' in page.text
        boris.post(f"/contents/{content_id}/edit", {**texts, "body": "what boris wrote", "etag": etag})
        assert press.now(content_id)["body"] == "what boris wrote"

    def test_a_preview_is_live_and_a_draft_outlives_the_page(self, press: Press, page: Page) -> None:
        content_id = press.article("previewed")["content_id"]
        sign_in(page, ANNA)
        page.goto(f"/contents/{content_id}/edit")
        page.get_by_label("Text", exact=True).fill("# Typed\n\n**now** <b>no html</b>")
        expect(page.locator("#preview h3").first).to_have_text("Typed")
        expect(page.locator("#preview .article strong")).to_have_text("now")
        expect(page.locator("#preview .difference ins").first).to_be_visible()
        page.goto("/contents")
        page.goto(f"/contents/{content_id}/edit")
        expect(page.get_by_label("Text", exact=True)).to_have_value("# Typed\n\n**now** <b>no html</b>")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(f"/contents/{content_id}")
        expect(page.locator(".article strong")).to_have_text("now")
        page.goto(f"/contents/{content_id}/edit")
        expect(page.locator("#draft")).to_be_hidden()
