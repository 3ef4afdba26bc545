"""Text in pages, images whole, and nothing else."""

import os

import pytest

from mcpauth.gateway.files import content
from mcpauth.gateway.files.content import MAX_IMAGE, MAX_TEXT, Image, Text, indexable
from mcpauth.gateway.files.root import Refused


@pytest.fixture
def read(tmp_path):
    def read(data, offset=0, limit=MAX_TEXT):
        (tmp_path / "file").write_bytes(data)
        descriptor = os.open(tmp_path / "file", os.O_RDONLY)
        try:
            return content.read(descriptor, len(data), offset, limit)
        finally:
            os.close(descriptor)

    return read


@pytest.mark.parametrize(
    ("data", "mark", "text"),
    [
        (b"", 0, ""),
        (b"plain\r\n", 0, "plain\r\n"),
        ("Grüße 日本 🙂".encode(), 0, "Grüße 日本 🙂"),
        (b"\xef\xbb\xbfmarked", 3, "marked"),
        (b"\xff\xfe" + "Grüße 🙂".encode("utf-16-le"), 2, "Grüße 🙂"),
        (b"\xfe\xff" + "Grüße 🙂".encode("utf-16-be"), 2, "Grüße 🙂"),
        (b"a long line with one odd byte: \xff.", 0, "a long line with one odd byte: \ufffd."),
        (b"x" * 9000 + b"\0y", 0, "x" * 9000 + "\ufffdy"),
    ],
)
def test_text_is_decoded(read, data, mark, text):
    assert read(data) == Text(text, mark, len(data), len(data))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("limit", [1, 16, 17, 19, 50])
def test_pages_make_up_the_whole_text(read, encoding, limit):
    text = "aé日🙂" * 20
    data, offset, pages = text.encode(encoding), 0, []
    while offset < len(data):
        page = read(data, offset, limit)
        assert page.end > offset
        pages.append(page.text)
        offset = page.end
    assert "".join(pages) == text


def test_a_page_is_capped(read):
    page = read(b"x" * (MAX_TEXT + 10), limit=10 * MAX_TEXT)
    assert (len(page.text), page.end, page.size) == (MAX_TEXT, MAX_TEXT, MAX_TEXT + 10)


def test_an_offset_within_a_character_of_utf_16_moves_to_the_next(read):
    assert read("abcd".encode("utf-16"), offset=5) == Text("cd", 6, 10, 10)


def test_beyond_the_end_there_is_nothing(read):
    assert read(b"abc", offset=10) == Text("", 10, 10, 3)


@pytest.mark.parametrize(
    ("data", "mime_type"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        (b"\xff\xd8\xff\xe0\0\0", "image/jpeg"),
        (b"GIF89a\0\0", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
def test_an_image_is_known_by_its_first_bytes(read, data, mime_type):
    assert read(data, offset=3) == Image(data, mime_type)


def test_an_image_is_capped(read):
    data = b"GIF89a".ljust(MAX_IMAGE, b"\0")
    assert read(data).data == data
    with pytest.raises(Refused, match="too large"):
        read(data + b"\0")


@pytest.mark.parametrize(
    "data", [b"\x7fELF\0\0", b"%PDF-1.7 and so on", bytes(range(128, 256)) * 20, b"RIFF\0\0\0\0WAVE"]
)
@pytest.mark.parametrize("offset", [0, 5])
def test_other_binaries_are_refused(read, data, offset):
    with pytest.raises(Refused, match="cannot be read here"):
        read(data, offset)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"words", "words"), (b"GIF89a", ""), (b"\0", ""), (b"x" * (MAX_TEXT + 1), "")],
    ids=["text", "image", "binary", "large"],
)
def test_what_is_found_by_its_text(tmp_path, data, text):
    (tmp_path / "file").write_bytes(data)
    descriptor = os.open(tmp_path / "file", os.O_RDONLY)
    assert indexable(descriptor, len(data)) == text
    os.close(descriptor)
