"""What documents a corpus holds, how they are cut, and which chunks belong together."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from memo_ray.config.base import Settings
from memo_ray.config.benchmarks import BenchmarkConfig, BrowseCompPlus, MuSiQue
from memo_ray.config.comparison import EmbeddingModel

ENCODER_REMEDY = (
    "{key}: embedding and encoder go together; set both, with encoder: {{engine: transformers, model: NAME}} or "
    "{{engine: openai, base_url: URL, model: NAME}}, or neither"
)


class WholeDocument(Settings):
    """One chunk a document, as the paper does for MuSiQue and BrowseComp-Plus (Appendix D)."""

    kind: Literal["document"]


class SlidingWindow(Settings):
    """Windows of words with overlap (paper, Appendix D). A shorter document is one chunk.

    Words are what white space separates; of Chinese and Japanese text every character counts as one.
    """

    kind: Literal["window"]
    words: int = Field(default=6400, ge=20)
    overlap: int = Field(default=640, ge=0)
    boundary: Literal["word", "sentence", "paragraph"] = "word"
    """Where a window may begin and end; `word` is the paper's. With another one a window is cut short at the last
    end of a sentence or paragraph in its second half, and the next begins at the last beginning before its place."""

    @model_validator(mode="after")
    def overlap_is_shorter(self) -> Self:
        """Refuse an overlap that would keep the window from moving on."""
        if self.overlap >= self.words:
            raise ValueError(f"overlap ({self.overlap}) must be smaller than words ({self.words})")
        return self


GroupKind = Literal["document", "label", "section", "discovered", "all", "benchmark"]


class Discovered(Settings):
    """Groups that are found in the texts: chunks that are alike are put together, nearest first."""

    by: Literal["words", "embedding"] = "words"
    """How alike two chunks are: by their rarest words (BM25), or by an encoder's vectors."""
    encoder: EmbeddingModel | None = None
    """`by: embedding`: what makes the vectors, such as `{engine: transformers, model: intfloat/e5-small-v2}`."""
    max_chunks: int = Field(default=40, ge=2)
    """A group grows no larger than this."""
    neighbours: int = Field(default=10, ge=1, le=1000)
    """Nearest chunks of a chunk that it may be put together with."""

    @model_validator(mode="after")
    def embedding_has_its_encoder(self) -> Self:
        """Refuse vectors without what makes them, and an encoder that nothing uses."""
        if (self.by == "embedding") != (self.encoder is not None):
            raise ValueError(ENCODER_REMEDY.format(key="by"))
        return self


def preset_chunking(above: dict[str, Any]) -> WholeDocument | SlidingWindow:
    """The paper's chunking for the benchmark in `above`, the fields before (Appendix D); windows for anything else."""
    short = isinstance(above.get("benchmark"), MuSiQue | BrowseCompPlus)
    return WholeDocument(kind="document") if short else SlidingWindow(kind="window")


def preset_groups(above: dict[str, Any]) -> GroupKind:
    """The paper's groups for the benchmark in `above` (Appendix D, Table 8); documents for anything else."""
    return "benchmark" if isinstance(above.get("benchmark"), MuSiQue | BrowseCompPlus) else "document"


class CorpusConfig(Settings):
    """One corpus: its own synthesis, its own memory. A run with several merges the memories."""

    name: str = Field(default="corpus", pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    paths: tuple[str, ...] = ()
    """Files, folders and globs, or `s3://` objects and prefixes, of .txt, .md, .jsonl, .parquet (with the extra
    `documents`: .pdf, .html, .docx). Folders are read with their subfolders; hidden files and other formats in them are
    passed over."""
    questions: str | None = None
    """JSON Lines or CSV of questions with answers (`question`, `answers`, `hops`, `document_ids`), for evaluation
    only."""
    benchmark: BenchmarkConfig | None = None
    """A benchmark instead of `paths` and `questions`; `chunking` and `groups` are then the paper's unless given."""
    reflections: tuple[str, ...] = ()
    """Question-answer sets (.jsonl, .parquet: `question` and `answer`, or chat `messages`) that take the place of
    synthesis: the memory learns them, and no generator runs."""
    text_column: str = "text"
    id_column: str | None = None
    """Column of .jsonl and .parquet with a unique name for each document; none: the file and row number."""
    title_column: str | None = None
    """Column with a title; none: a heading that opens the text. A file's own title is its first heading or its name."""
    label_column: str | None = None
    """Column whose value puts documents into one group when `groups` is `label`."""
    forget: tuple[str, ...] = ()
    """Documents that are left out though they lie among `paths`: by id, or as `sha256:` and the digest of the text,
    which leaves out copies too. `memo forget` keeps this list."""
    licence: str = ""
    """Terms of use of the documents, such as CC-BY-4.0; carried to the ledger of every reflection."""
    licence_column: str | None = None
    """Column with each document's own licence; where it is empty, `licence` counts."""
    chunking: Annotated[WholeDocument | SlidingWindow, Field(discriminator="kind")] = Field(
        default_factory=preset_chunking
    )
    """Windows of 6,400 words with 640 of overlap unless given; MuSiQue and BrowseComp-Plus: whole documents."""
    groups: GroupKind | tuple[GroupKind, ...] = Field(default_factory=preset_groups)
    """Over which chunks Step 5 looks for connections: those of one document, of one label, under one heading of a
    document, that are alike (`discovered`), all of them, or those that a benchmark puts together (the paper's: a test
    question's evidence and negatives). A list makes the groups of each kind, in its order."""
    discovered: Discovered = Discovered()
    max_reject_share: float = Field(default=0.01, ge=0, le=1)
    """Documents that cannot be used go to the table `rejects`; above this share of them the stage fails. Exact
    copies are set aside too, but are not counted here."""

    @property
    def group_kinds(self) -> tuple[GroupKind, ...]:
        """The kinds of groups, in order."""
        return (self.groups,) if isinstance(self.groups, str) else self.groups

    @model_validator(mode="after")
    def documents_come_from_one_place(self) -> Self:
        """Refuse a corpus with no documents, or with two sources of them."""
        if self.benchmark is None and not self.paths:
            raise ValueError("paths: name the documents, or a benchmark")
        if self.benchmark is not None and (self.paths or self.questions):
            raise ValueError("benchmark: brings its own documents and questions; leave out paths and questions")
        if self.benchmark is not None and self.forget:
            raise ValueError("forget: a benchmark is taken whole; only documents of `paths` can be left out")
        if self.benchmark is None and "benchmark" in self.group_kinds:
            raise ValueError("groups: benchmark needs a benchmark; use document, label or all")
        return self

    @model_validator(mode="after")
    def groups_can_be_made(self) -> Self:
        """Refuse groups by label without the label's column, a kind that is named twice, and no kind at all."""
        if "label" in self.group_kinds and not self.label_column:
            raise ValueError("groups: label needs label_column, the column that holds the label")
        if not self.group_kinds or len(set(self.group_kinds)) < len(self.group_kinds):
            raise ValueError("groups: name one kind, or several different ones")
        return self
