"""Bytes to text and title, and what is refused."""

from __future__ import annotations

import io
import zipfile

import pytest

from memo_ray.corpus.formats import Unreadable, clean, decode, markdown_title, read_document


def pdf(text: str) -> bytes:
    """A one-page PDF that shows `text`."""
    stream = f"BT /F1 18 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"xref\n0 6\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return body + table + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(body)


def docx(*paragraphs: str) -> bytes:
    """A Word document of plain paragraphs."""
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = "".join(f"<w:p><w:r><w:t>{paragraph}</w:t></w:r></w:p>" for paragraph in paragraphs)
    kinds = "http://schemas.openxmlformats.org/package/2006/content-types"
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{kinds}"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
            f'relationships+xml"/><Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{relations}"><Relationship Id="r1" Type="{office}" Target="word/document.xml"/>'
            "</Relationships>",
        )
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{namespace}"><w:body>{body}</w:body></w:document>')
    return buffer.getvalue()


def refused(data: bytes, suffix: str = ".txt") -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read_document(data, suffix)
    return caught.value


def test_byte_order_mark_line_ends_and_outer_white_space_go() -> None:
    assert read_document(b"\xef\xbb\xbf\r\n one\r\ntwo\rthree \n", ".txt") == ("one\ntwo\nthree", "")


def test_a_text_that_is_not_utf8_names_the_line_and_the_remedy() -> None:
    problem = refused(b"one\ntwo\ncaf\xe9\n")
    assert problem.reason == "not_utf8"
    assert "byte 0xe9 in line 3" in problem.detail and "save it as UTF-8" in problem.detail


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf16_is_recognised_by_its_mark_or_its_zeros(encoding: str) -> None:
    assert refused("plain words".encode(encoding)).reason in ("not_utf8", "binary")


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "empty"), (b" \r\n\t", "empty"), (b"\xef\xbb\xbf", "empty"), (b"--- ***", "empty"), (b"a\0b", "binary")],
)
def test_empty_and_binary_files_are_refused(data: bytes, reason: str) -> None:
    assert refused(data).reason == reason


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(Unreadable, match="surrogate"):
        clean("a \ud800 b")


def test_decode_strips_one_mark_only() -> None:
    assert decode("\ufeffx".encode()) == "x"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# The Bell Law\n\nText", "The Bell Law"),
        ("Text first\n\n## Later ##\nmore", "Later"),
        ("The Law\n=======\ntext", "The Law"),
        ("```\n# not a heading\n```\n# Yes", "Yes"),
        ("# The *Bell* [Law](law.md)", "The Bell Law"),
        ("---\ntitle: front matter\n---\n# Real", "Real"),
        ("#hashtag and no heading", ""),
        ("plain", ""),
    ],
)
def test_the_first_markdown_heading_is_the_title(text: str, title: str) -> None:
    assert markdown_title(text) == title


def test_only_markdown_has_headings() -> None:
    assert read_document(b"# A\nb", ".md")[1] == "A"
    assert read_document(b"# A\nb", ".txt")[1] == ""


class TestConverted:
    """The formats of the extra `documents`, read by the real converter."""

    pytest.importorskip("markitdown", reason="the extra `documents` is not installed")

    def test_pdf(self) -> None:
        text, _ = read_document(pdf("The lamp was lit in 1801."), ".pdf")
        assert text == "The lamp was lit in 1801."

    def test_html_gives_markdown_and_the_heading_before_the_page_title(self) -> None:
        page = "<html><head><title>Site</title><script>no()</script></head><body><h1>Café</h1><p>Open <b>now</b>.</p>"
        text, title = read_document(page.encode(), ".html")
        assert (text, title) == ("# Café\n\nOpen **now**.", "Café")

    def test_html_without_a_heading_takes_the_page_title(self) -> None:
        assert read_document(b"<title>The  Site</title><body><p>Words</p>", ".html") == ("Words", "The Site")

    def test_html_in_a_declared_encoding_is_read_in_it(self) -> None:
        page = '<html><head><meta charset="iso-8859-1"></head><body>Café</body></html>'
        assert read_document(page.encode("latin-1"), ".html")[0] == "Café"

    def test_html_in_an_undeclared_or_unknown_encoding_is_refused(self) -> None:
        assert refused("<p>Café</p>".encode("latin-1"), ".html").reason == "not_utf8"
        assert refused(b"<meta charset=klingon><p>x</p>", ".html").reason == "not_utf8"

    def test_inline_images_leave_no_trace(self) -> None:
        page = b"<p>Before</p><img src='data:image/png;base64,AAAA'><p>after</p>"
        assert read_document(page, ".html")[0].split() == ["Before", "after"]

    def test_word(self) -> None:
        assert read_document(docx("The lamp.", "It was lit."), ".docx")[0] == "The lamp.\n\nIt was lit."

    @pytest.mark.parametrize("suffix", [".pdf", ".docx"])
    @pytest.mark.parametrize("data", [b"", b"plain text, not what its name says", b"%PDF-1.4 cut off"])
    def test_a_broken_file_is_refused_and_never_taken_for_text(self, suffix: str, data: bytes) -> None:
        problem = refused(data, suffix)
        assert problem.reason == "unreadable" and suffix in problem.detail

    def test_a_pdf_without_text_says_what_to_do(self) -> None:
        problem = refused(pdf(""), ".pdf")
        assert problem.reason == "empty" and "text recognition" in problem.detail
