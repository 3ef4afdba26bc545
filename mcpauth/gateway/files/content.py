"""What a file holds: text in pages, an image, or neither."""

import codecs
import os
from collections.abc import Callable
from typing import NamedTuple

from .root import Refused

MAX_TEXT = 1024 * 1024
MAX_IMAGE = 5 * 1024 * 1024
MIN_PAGE = 16  # bytes; a character takes up to four, so that a page always moves on
HEAD = 8192  # bytes that tell text from anything else, as git does it

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Text(NamedTuple):
    """A page. ``start``, ``end`` and ``size`` count bytes of the file."""

    text: str
    start: int
    end: int
    size: int


class Image(NamedTuple):
    data: bytes
    mime_type: str


def read(descriptor: int, size: int, offset: int, limit: int) -> Text | Image:
    """An image whole, or a page of text from byte ``offset``. Raises Refused for what is neither."""
    limit = max(MIN_PAGE, min(limit, MAX_TEXT))
    page = _read_at(descriptor, offset, limit, size)
    head = page[:HEAD] if offset == 0 else _read_at(descriptor, 0, HEAD, size)
    if mime_type := _image_type(head):
        if size > MAX_IMAGE:
            raise Refused(f"this image is too large: {size} bytes of at most {MAX_IMAGE}")
        return Image(_read_at(descriptor, 0, MAX_IMAGE, size), mime_type)
    encoding, mark = _encoding(head)
    if offset < mark:
        page, offset = page[mark - offset :], mark
    elif encoding != "utf-8" and offset % 2:
        page, offset = page[1:], offset + 1
    if page:
        size = max(size, offset + len(page))
    text, used = _decode(page, encoding, final=offset + len(page) >= size)
    return Text(text, offset, offset + used, size)


def indexable(descriptor: int, size: int) -> str:
    """The text to find a file by; empty for what is found by its name alone."""
    if size > MAX_TEXT:
        return ""
    try:
        found = read(descriptor, size, 0, MAX_TEXT)
    except Refused:
        return ""
    return found.text if isinstance(found, Text) else ""


def _read_at(descriptor: int, offset: int, count: int, size: int) -> bytes:
    """Up to ``count`` bytes: fewer only where the file ends, which had this ``size``."""
    left = max(size - offset, 0)
    # It may have grown; a buffer of the whole count would cost a short note more than its reading.
    chunk = _pread(descriptor, min(count, left + HEAD), offset)
    if len(chunk) in (count, left):
        return chunk
    chunks = [chunk]
    while chunk and (count := count - len(chunk)):
        offset += len(chunk)
        chunk = _pread(descriptor, count, offset)
        chunks.append(chunk)
    return b"".join(chunks)


def _seek_and_read(descriptor: int, count: int, offset: int) -> bytes:
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)


_pread: Callable[[int, int, int], bytes] = getattr(os, "pread", _seek_and_read)  # Windows has none.


def _image_type(head: bytes) -> str | None:
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def _encoding(head: bytes) -> tuple[str, int]:
    """How the text is encoded, and the length of the mark that says so."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    if b"\0" in head or head.startswith(b"%PDF-"):
        raise Refused("this file is neither text nor an image, and cannot be read here")
    return "utf-8", 0


def _decode(page: bytes, encoding: str, *, final: bool) -> tuple[str, int]:
    """The text, and how many bytes it took: a character cut by the page's end is left for the next one."""
    try:
        return page.decode(encoding).replace("\0", "\ufffd"), len(page)
    except UnicodeDecodeError:
        pass  # A character is cut, or something is no text.
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    text = decoder.decode(page, final)
    if text.count("\ufffd") * 10 > len(text):
        raise Refused("this file is not text in UTF-8 or UTF-16, and cannot be read here")
    pending = 0 if final else len(decoder.getstate()[0])
    return text.replace("\0", "\ufffd"), len(page) - pending
