"""Turns the bytes of one document into clean text and a title, or says why it cannot.

Text and Markdown are read here; PDF, HTML and Word become Markdown through MarkItDown, which comes with the extra
`documents` and is imported only when such a file turns up. What is wrong with a single document is raised as
Unreadable, which the reader turns into a row of `rejects`.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import re
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is read, and the modules that takes beyond the core installation."""

    kind: Literal["text", "markdown", "converted", "jsonl", "parquet"]
    needs: tuple[str, ...] = ()


FORMATS: dict[str, Format] = {
    ".txt": Format("text"),
    ".md": Format("markdown"),
    ".jsonl": Format("jsonl"),
    ".parquet": Format("parquet"),
    ".pdf": Format("converted", ("markitdown", "pdfminer", "pdfplumber")),
    ".html": Format("converted", ("markitdown", "bs4")),
    ".docx": Format("converted", ("markitdown", "mammoth")),
}

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
FENCED = re.compile(r"^[ \t]*(```|~~~).*?^[ \t]*\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL)
# `# Title`, or a line underlined with equals signs; one underlined with dashes may be front matter or a table.
HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$|^(\S[^\n]*)\n={3,}[ \t]*$", re.MULTILINE)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
INLINE_IMAGE = re.compile(r"!\[[^\]]*\]\(data:[^)]*\)")


class Unreadable(Exception):
    """One document cannot be used. `reason` is a short fixed word, `detail` says what is wrong and the remedy."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def missing_modules(suffix: str) -> list[str]:
    """The modules that reading `suffix` needs and this Python lacks."""
    return [module for module in FORMATS[suffix].needs if importlib.util.find_spec(module) is None]


def read_document(data: bytes, suffix: str) -> tuple[str, str]:
    """Text and title (empty: none found) of a file that is one document. Raises Unreadable."""
    kind = FORMATS[suffix].kind
    if kind == "converted":
        markdown, title = convert(data, suffix)
        text = clean(markdown)
        return text, markdown_title(text) or title
    text = clean(decode(data))
    return text, markdown_title(text) if kind == "markdown" else ""


def decode(data: bytes) -> str:
    """`data` as UTF-8, without a byte order mark. Raises Unreadable naming the line of the first bad byte."""
    if data.startswith(UTF16_MARKS):
        raise Unreadable("not_utf8", "is UTF-16 text, not UTF-8; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        where = f"byte 0x{data[error.start]:02x}" + (f" in line {line}" if line > 1 else "")
        raise Unreadable("not_utf8", f"is not UTF-8 text ({where}); save it as UTF-8") from None


def clean(text: str) -> str:
    """`text` with line feeds only and no white space around it.

    Raises Unreadable for a text without a letter or digit, with a NUL character, or with half a surrogate pair
    (which JSON can hold and UTF-8 cannot).
    """
    if "\0" in text:
        raise Unreadable("binary", "holds a NUL character, so it is not text; remove it or convert the file")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unreadable("not_utf8", "holds a broken \\ud... escape (half a surrogate pair); mend it") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n").strip()
    if not any(character.isalnum() for character in text):
        raise Unreadable("empty", "holds no text; remove it, or run text recognition first if it is a scan")
    return text


def markdown_title(text: str) -> str:
    """The first heading of a Markdown text, without its markup; empty when there is none."""
    heading = HEADING.search(FENCED.sub("", text))
    if not heading:
        return ""
    return re.sub(r"[*_`]", "", LINK.sub(r"\1", heading[1] or heading[2])).strip()


def convert(data: bytes, suffix: str) -> tuple[str, str]:
    """Markdown and title of a PDF, HTML or Word file. Raises Unreadable when it is broken."""
    from markitdown import MarkItDownException, StreamInfo

    if suffix == ".html":
        data = _html_as_utf8(data)
    known = StreamInfo(extension=suffix, charset="utf-8")
    try:
        result = _converter(suffix).convert_stream(io.BytesIO(data), stream_info=known)
    except MarkItDownException as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip(" -")[:200]
        raise Unreadable("unreadable", f"is not a readable {suffix} file ({cause}); repair or remove it") from None
    return INLINE_IMAGE.sub("", result.markdown), " ".join((result.title or "").split())


@functools.cache
def _converter(suffix: str) -> Any:
    """A MarkItDown that knows one format: with all of them, it would take a broken PDF for plain text."""
    from markitdown import MarkItDown
    from markitdown.converters import DocxConverter, HtmlConverter, PdfConverter

    converter = MarkItDown(enable_builtins=False)
    converter.register_converter({".pdf": PdfConverter, ".html": HtmlConverter, ".docx": DocxConverter}[suffix]())
    return converter


def _html_as_utf8(data: bytes) -> bytes:
    """A page may declare another encoding than UTF-8; that is honoured, and an undeclared one is not guessed."""
    declared = CHARSET.search(data[:4096])
    name = declared[1].decode("ascii", "replace") if declared else "utf-8"
    try:
        return data.decode(name).encode() if name.lower() not in ("utf-8", "utf8") else decode(data).encode()
    except (LookupError, UnicodeError):
        raise Unreadable("not_utf8", f"is not text in its declared encoding {name}; save it as UTF-8") from None
