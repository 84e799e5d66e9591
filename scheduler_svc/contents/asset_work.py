"""Files of contents that editors upload, replace and remove. Each change is a revision with the same texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from scheduler_svc.assets.work import Quota, StoredFile, complete
from scheduler_svc.contents.work import check_etag, get_content
from scheduler_svc.domain.content import MAX_NAMED, Content, Media
from scheduler_svc.domain.errors import AssetStoreUnavailable, InvalidArgument, NotFound

if TYPE_CHECKING:
    from scheduler_svc.transactions import Tx


class NewFile(NamedTuple):
    """A file for a content, as of `etag`; empty: as of now."""

    content_id: int
    name: str
    etag: str
    author: str


def admit(tx: Tx, new: NewFile, *, lock: bool = False) -> Content:
    """Returns the content that the file is for.

    Raises NotFound, EtagMismatch, and InvalidArgument if the content has as many files as it may have.
    """
    content = get_content(tx, new.content_id, lock=lock)
    check_etag(content, new.etag)
    names = {asset.name for asset in content.assets} | {new.name}
    if len(names) > MAX_NAMED:
        raise InvalidArgument.of("name", f"must be that of a file of the content, which has {MAX_NAMED}, the most")
    return content


def put_asset(tx: Tx, new: NewFile, file: StoredFile, quota: Quota, *, media: Media | None, store_id: str) -> Content:
    """Lets a content name a file whose object is there, in place of the one of that name.

    `media`: what it is, if it was not stored before. Raises what `admit` and `complete` raise.
    """
    content = admit(tx, new, lock=True)
    if media:
        complete(tx, quota, file, media, store_id)
    if (new.name, file.sha256) in ((asset.name, asset.sha256) for asset in content.assets):
        return content
    if not tx.assets.lock_complete([file.sha256]):
        raise AssetStoreUnavailable(f"asset {file.sha256} was deleted while it was uploaded")
    tx.assets.unname(content.content_id, new.name)
    tx.assets.name_file(content.content_id, new.name, file.sha256)
    tx.revisions.add(content.content_id, content.texts, new.author, new.name)
    return get_content(tx, content.content_id)


def remove_asset(tx: Tx, content_id: int, name: str, etag: str, author: str) -> Content:
    """Removes a file, also from the images and the cover. Raises NotFound and EtagMismatch."""
    content = get_content(tx, content_id, lock=True)
    check_etag(content, etag)
    if not tx.assets.unname(content_id, name):
        raise NotFound("asset", name)
    image, texts = f"asset:{name}", content.texts
    if texts.cover_image == image:
        texts = texts._replace(cover_image="")
    tx.revisions.add(content_id, texts, author, name)
    tx.contents.drop_image(content_id, image)
    return get_content(tx, content_id)
