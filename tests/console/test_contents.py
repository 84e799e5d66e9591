"""The list of contents, the page of one, its editor, its files."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from console_svc.web.forms import MAX_FORM
from tests.console.conftest import BORIS, NEWCOMER, Place, present
from tests.harness.console import Visitor
from tests.harness.creators import SVG
from tests.harness.pictures import png, sha256

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("anna")]


def texts_of(place: Place, content_id: int) -> dict[str, str]:
    """Returns the texts of the editor's form, and what it was read as."""
    content = dict(place.content(content_id))
    names = ("title", "summary", "category", "cover_image", "body", "html_body", "etag")
    return {name: str(content[name] or "") for name in names}


class TestList:
    def test_an_empty_list_says_what_to_do(self, place: Place) -> None:
        assert "contentgen task submit" in place.visitor(NEWCOMER).get("/contents").text

    def test_contents_are_found_by_words_and_states_in_the_address(self, place: Place, anna: Visitor) -> None:
        coffee = place.article("咖啡与茶", category="food", labels={"team": "news"})
        soup = place.article("winter soup", auto_approve=True)
        for query, contents in (
            ("", [coffee, soup]),
            (f"query={quote('咖啡')}", [coffee]),
            ("review=approved", [soup]),
            ("review=pending_review&category=food", [coffee]),
            ("label=team%3Dnews", [coffee]),
            ("publish=pending", [soup]),
            (f"account={place.account}&query=soup", [soup]),
            ("category=none", []),
        ):
            text = anna.get(f"/contents?{query}").text
            matches = [content for content in (coffee, soup) if f'id="content-{content["content_id"]}"' in text]
            assert matches == contents, query
        assert "No content is like that." in text


class TestContent:
    def test_a_page_tells_the_whole_story(self, place: Place, anna: Visitor) -> None:
        client, content = place.client, place.article("a story", keywords="tea", requirements="short")
        content_id = content["content_id"]
        client.update_content(content_id, title="a better story")
        client.review_content(content_id, approve=True, comment="well done")
        claims = {entry["content_id"]: entry["claim_id"] for entry in client.claim_publish_pool(limit=1_000)}
        client.report_published(content_id, claims[content_id], url="https://press.example/1")
        page = anna.get(f"/contents/{content_id}").lacks("<del>a story</del>", "Take the decision back")
        page.says("a better story", "<ins>better </ins>", "well done", "tea", "short")
        page.says("https://press.example/1", content["task_id"])

    def test_a_decision_is_taken_back(self, place: Place, anna: Visitor) -> None:
        content_id = place.article("decided", auto_approve=True)["content_id"]
        assert "Take the decision back" in anna.get(f"/contents/{content_id}").text
        anna.post(f"/contents/{content_id}/reopen", {})
        assert place.content(content_id)["review_status"] == "pending_review"

    def test_who_may_delete_deletes(self, place: Place, anna: Visitor, operator: Visitor, content_id: int) -> None:
        assert "/delete" not in anna.get(f"/contents/{content_id}").text
        assert anna.post(f"/contents/{content_id}/delete", {}).status == 403
        assert f"Content {content_id} is deleted." in operator.post(f"/contents/{content_id}/delete", {}).text
        operator.post(f"/contents/{content_id}/delete", {}).says("There is no such content.", status=404)
        operator.get("/contents").lacks("is deleted")
        assert operator.get(f"/contents/{content_id}").status == 404


class TestTeamwork:
    def test_an_earlier_text_is_restored(self, place: Place, anna: Visitor, content_id: int) -> None:
        title = place.content(content_id)["title"]
        place.client.update_content(content_id, title="worse")
        page = anna.get(f"/contents/{content_id}").says("Restore revision 1").lacks("Restore revision 2")
        fields = page.hidden("restore")
        anna.post(f"/contents/{content_id}/restore", {**fields, "revision": "1"}).says(
            "Restored.", "Restore revision 2"
        )
        assert (place.content(content_id)["title"], place.content(content_id)["revision"]) == (title, 3)
        anna.post(f"/contents/{content_id}/restore", {**fields, "revision": "2"}).says("Someone has changed it")
        assert place.content(content_id)["revision"] == 3

    def test_the_history_has_comments_and_who_is_to_review(self, place: Place, anna: Visitor, content_id: int) -> None:
        anna.post(f"/contents/{content_id}/comment", {"text": "Is the <price> right?"}).says(
            "Is the &lt;price&gt; right?"
        )
        page = anna.post(f"/contents/{content_id}/assign?back=/review/{content_id}", {"assignee": "anna"})
        assert page.url.endswith(f"/review/{content_id}")
        anna.get(f"/contents/{content_id}").says("To be reviewed by anna")
        for address in ("/contents?assignee=me", "/review?assignee=me"):
            assert place.content(content_id)["title"] in anna.get(address).text
        anna.get("/contents?assignee=boris").says("No content is like that.")
        anna.post(f"/contents/{content_id}/assign", {"assignee": ""}).says(
            "To be reviewed by anna", "No longer assigned to anybody"
        )
        place.client.review_content(content_id, approve=False, comment="too <long>")
        place.client.reopen_content(content_id)
        history = anna.get(f"/contents/{content_id}").text.partition('id="history"')[2]
        assert 0 < history.index("The decision was taken back") < history.index("too &lt;long&gt;"), "the latest first"

    def test_a_rewrite_stands_beside_what_it_replaces(self, place: Place, anna: Visitor, content_id: int) -> None:
        task = place.client.regenerate_content(content_id, "shorter")
        new_id = place.client.wait(task["task_id"], timeout=60)["content_id"]
        place.client.update_content(present(new_id), title="shorter now")
        anna.get(f"/contents/{new_id}").says("Before:", f'href="/contents/{content_id}"', "What differs", "shorter now")

    def test_words_are_found_in_bodies(self, place: Place, anna: Visitor, content_id: int) -> None:
        place.client.update_content(content_id, body="写给ＡＩ的信")
        query = quote("ai的信")
        assert f"content-{content_id}" not in anna.get(f"/contents?query={query}").text
        assert f"content-{content_id}" in anna.get(f"/contents?query={query}&bodies=yes").text


class TestFiles:
    def test_a_picture_is_uploaded_replaced_made_the_cover_and_removed(
        self, place: Place, anna: Visitor, content_id: int
    ) -> None:
        address = f"/contents/{content_id}"
        large, small = png() + bytes(MAX_FORM), png(shade=7)
        upload = anna.get(address).hidden("upload")
        anna.post(f"{address}/files", {**upload, "name": "图 1.png"}, file=large).says("Uploaded.")
        anna.post(f"{address}/files", {**upload, "name": "late.png"}, file=small).says("Someone has changed it")
        anna.post(f"{address}/files", {"name": "../a.png"}, file=small).says("Not done:")
        anna.post(f"{address}/files", {"name": "图 1.png"}, file=small).says("Uploaded.")
        anna.post(f"{address}/cover", {"name": "图 1.png"}).says("Saved.", "Cover picture")
        content = place.content(content_id)
        assert content["cover_image"] == "asset:图 1.png"
        assert [asset["sha256"] for asset in content["assets"]][-1] == sha256(small)
        place.client.update_content(content_id, body="![](<asset:图 1.png>)")
        anna.get(address).says(f'<img src="/assets/{sha256(small)}/{quote("图 1.png")}" alt="" loading="lazy">')
        anna.post(f"{address}/files/remove", {"name": "图 1.png"}).says("Removed.").lacks(sha256(small))

    def test_a_picture_is_shown_and_anything_else_is_saved(self, place: Place, anna: Visitor) -> None:
        content = place.article("pictures")
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
    def test_what_no_content_names_is_not_found(self, place: Place, anna: Visitor, name: str) -> None:
        assert anna.get(f"/assets/{name}/x.png").status == 404

    def test_nobody_reads_files_who_has_not_signed_in(self, place: Place) -> None:
        content = place.article("secret")
        page = Visitor(place.console.url).get(f"/assets/{content['assets'][0]['sha256']}/cover.png")
        assert "/login" in page.url


class TestEditor:
    def test_what_is_changed_is_saved_as_a_revision(self, place: Place, anna: Visitor, content_id: int) -> None:
        fields = {**texts_of(place, content_id), "body": "one\r\ntwo\r\n"}
        page = anna.post(f"/contents/{content_id}/edit?back=/contents", fields).says("Saved.")
        assert page.url.endswith("/contents")
        assert place.content(content_id)["body"] == "one\ntwo\n"
        assert place.content(content_id)["revision"] == 2
        anna.post(f"/contents/{content_id}/edit?back=//elsewhere.example", texts_of(place, content_id))
        assert place.content(content_id)["revision"] == 2, "nothing was changed"

    def test_bad_texts_come_back_beside_what_is_wrong(self, place: Place, anna: Visitor, content_id: int) -> None:
        fields = {**texts_of(place, content_id), "title": "t" * 256, "body": "kept"}
        anna.post(f"/contents/{content_id}/edit", fields).says('id="problem-title"', ">\nkept</textarea>", status=400)
        assert place.content(content_id)["revision"] == 1

    def test_of_two_editors_none_overwrites_the_other(self, place: Place, anna: Visitor, content_id: int) -> None:
        boris = place.visitor(BORIS)
        texts = texts_of(place, content_id)
        anna.post(f"/contents/{content_id}/edit", {**texts, "body": "what anna wrote"})
        page = boris.post(f"/contents/{content_id}/edit", {**texts, "body": "what boris wrote"})
        assert place.content(content_id)["body"] == "what anna wrote"
        etag = place.content(content_id)["etag"]
        page.says("anna has saved another text", f'name="etag" value="{etag}"', status=409)
        page.says('<pre dir="auto">what anna wrote</pre>', ">\nwhat boris wrote</textarea>")
        boris.post(f"/contents/{content_id}/edit", {**texts, "body": "what boris wrote", "etag": etag})
        assert place.content(content_id)["body"] == "what boris wrote"

    def test_a_preview_is_live_and_a_draft_outlives_the_page(self, place: Place, page: Page, content_id: int) -> None:
        page.goto(f"/contents/{content_id}/edit")
        page.get_by_label("Text", exact=True).fill("# Typed\n\n**now** <b>no html</b>")
        expect(page.locator("#preview h3").first).to_have_text("Typed")
        expect(page.locator("#preview .article strong")).to_have_text("now")
        expect(page.locator("#preview .difference ins").first).to_be_visible()
        page.goto("/contents")
        page.goto(f"/contents/{content_id}/edit")
        expect(page.get_by_label("Title", exact=True)).to_be_focused()
        expect(page.get_by_label("Text", exact=True)).to_have_value("# Typed\n\n**now** <b>no html</b>")
        page.get_by_role("button", name="Save").click()
        page.wait_for_url(f"/contents/{content_id}")
        expect(page.locator(".article strong")).to_have_text("now")
        page.goto(f"/contents/{content_id}/edit")
        expect(page.locator("#draft")).to_be_hidden()

    def test_marks_are_put_around_what_is_selected(self, page: Page, content_id: int) -> None:
        page.goto(f"/contents/{content_id}/edit")
        body = page.get_by_label("Text", exact=True)
        body.fill("one\ntwo")
        body.select_text()
        page.get_by_role("button", name="Bold").click()
        expect(body).to_have_value("**one\ntwo**")
        body.press("ControlOrMeta+End")
        page.get_by_role("button", name="Heading").click()
        expect(body).to_have_value("**one\n## two**")
        page.get_by_label("Insert a picture").select_option("cover.png")
        expect(body).to_have_value("**one\n## two**![](<asset:cover.png>)")
        body.press("ControlOrMeta+z")
        expect(body).to_have_value("**one\n## two**")
