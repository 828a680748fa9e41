"""Systems that answer the same questions with the same executive, judge and seeds, side by side."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from memo_ray.config.base import Endpoint, Settings
from memo_ray.config.cartridges import CartridgeTraining
from memo_ray.config.judging import JudgeConfig
from memo_ray.config.models import OpenAIModel
from memo_ray.config.protocol import ProtocolConfig


class Encoder(Settings):
    """An embedding model of the sentence-transformers kind, run here with transformers. No code of its is executed."""

    engine: Literal["transformers"]
    model: str
    """A Hugging Face id or a folder."""
    revision: str | None = None
    pooling: Literal["auto", "mean", "cls", "last"] = "auto"
    """`auto`: as the model's 1_Pooling/config.json says, else mean."""
    max_tokens: int = Field(default=512, ge=8)
    batch_size: int = Field(default=32, ge=1)


class EmbeddingEndpoint(Settings):
    """An endpoint that speaks OpenAI's embeddings: vLLM with an embedding model such as NV-Embed-V2, a provider."""

    engine: Literal["openai"]
    base_url: Endpoint
    model: str
    api_key_env: str = ""
    batch_size: int = Field(default=32, ge=1)
    timeout_s: float = Field(default=120, gt=0)
    max_retries: int = Field(default=5, ge=0)


EmbeddingModel = Annotated[Encoder | EmbeddingEndpoint, Field(discriminator="engine")]


class SystemSettings(Settings):
    """What every system shares."""

    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+@=-]{0,60}$")
    """How tables call it; none: its kind."""
    paper: str | None = None
    """The paper's row beside this one, as `comparison.paper`; none: that of the comparison."""
    executive: OpenAIModel | None = None
    """Another executive for this system alone, such as one trained on the raw documents."""


class NoContext(SystemSettings):
    """The executive alone: what it knows already (paper, Appendix I)."""

    kind: Literal["no_context"]


class MemoryAlone(SystemSettings):
    """The run's trained model in the executive's place, with no context: what training alone has taught it."""

    kind: Literal["memory_alone"]


class PerfectRetrieval(SystemSettings):
    """The executive with exactly the evidence, the upper bound; cut to its context, which is said."""

    kind: Literal["perfect_retrieval"]


class InContext(SystemSettings):
    """The executive with the whole corpus, as far as its context holds it, which is said."""

    kind: Literal["in_context"]


class Retrieval(SystemSettings):
    """What retrieval systems share: the `top_k` best chunks; fewer where they do not fit (paper, Section 5)."""

    top_k: int = Field(default=9, ge=1)


class Bm25(Retrieval):
    """Lexical retrieval."""

    kind: Literal["bm25"]
    k1: float = Field(default=1.5, ge=0)
    b: float = Field(default=0.75, ge=0, le=1)


class Dense(Retrieval):
    """Dense retrieval by cosine similarity. The paper's is NV-Embed-V2 with its instruction for passages."""

    kind: Literal["dense"]
    embedding: EmbeddingModel
    query_prefix: str = ""
    """Stands before a question, such as `Instruct: ...\\nQuery: `."""
    document_prefix: str = ""


class HippoRag(Retrieval):
    """HippoRAG2, the authors' package, in a Python environment of its own; its passages go to our executive."""

    kind: Literal["hipporag"]
    python: str | None = None
    """The interpreter of an environment with the package; none: the one that `make hipporag` makes."""
    llm: OpenAIModel | None = None
    """What extracts facts while it indexes and filters them while it retrieves; none: the executive."""
    embedding: EmbeddingModel
    query_instructions: bool = False
    """Put the package's instructions before a question, as models of the kind of NV-Embed-V2 want it."""
    max_tokens: int = Field(default=2048, ge=16)
    """Longest reply when facts are extracted. The default is the package's."""
    timeout_s: float = Field(default=86_400, gt=0)
    """Seconds for indexing, and for one question."""


class Cartridge(SystemSettings):
    """A trained KV cache loaded onto the executive: PEFT `cartridge` adapters, one a document."""

    kind: Literal["cartridge"]
    base: str | None = None
    """The model that they were trained on, as a Hugging Face id or folder; none: the run's executive."""
    adapters: str | None = None
    """Folder or s3:// prefix with one adapter a document, as `memo cartridge` leaves them; none: trained from the
    run's reflections before the evaluation begins, and found again by a later one. A document of which no reflection
    was kept is learned from its own text."""
    training: CartridgeTraining = CartridgeTraining()
    """How they are trained where no `adapters` are named."""


class Memo(SystemSettings):
    """A memory that the executive asks through the protocol."""

    kind: Literal["memo"]
    protocol: ProtocolConfig | None = None
    """Another protocol than `serving.protocol`, for this row alone: other budgets, other prompts."""
    memory: OpenAIModel | None = None
    """An endpoint that serves another memory than the run's."""


SystemConfig = Annotated[
    NoContext | MemoryAlone | PerfectRetrieval | InContext | Bm25 | Dense | HippoRag | Cartridge | Memo,
    Field(discriminator="kind"),
]


class Reader(Settings):
    """How the executive answers from given text. Defaults are the paper's."""

    temperature: float = Field(default=0.7, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    context_tokens: int = Field(default=32_768, ge=256)
    """The executive's context. What is certainly longer is cut before it is sent."""


class Price(Settings):
    """What one million tokens cost, in the currency of `Prices`."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class Prices(Settings):
    """The table by which tokens and seconds become money."""

    currency: str = "USD"
    models: dict[str, Price] = {}
    """Model name, as the endpoint knows it, to its price; a model of our own that is not here costs its GPU's time."""
    gpu_hour: float = Field(default=0.0, ge=0)


class ComparisonConfig(Settings):
    """Which systems are compared, and by what."""

    systems: tuple[SystemConfig, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    """One run of all questions each; figures are means over them with their standard deviation."""
    questions: int | None = Field(default=None, ge=1)
    """At most so many of each corpus's questions, evenly spread; none: all."""
    together: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    """Ask of all corpora as of one with this name, such as two halves of a benchmark; none: each has its column."""
    reader: Reader = Reader()
    judge: JudgeConfig | None = None
    """None: accuracy is the share of answers that hold a reference (`docs/evaluation.md`)."""
    prices: Prices = Prices()
    questions_at_once: int = Field(default=16, ge=1)
    question_timeout_s: float = Field(default=900, gt=0)
    """Seconds after which a question is given up, and goes to the rejects; those that it waits for an endpoint's
    `rate` do not count."""
    paper: str | None = Field(default=None, pattern=r"^[0-9]+/[a-z]+(/[a-z0-9_.-]+)?$")
    """The paper's values that stand beside ours: TABLE/EXECUTIVE[/VARIANT], such as 2/qwen or 3/qwen/0n. A corpus
    has the paper's values when it is named like a benchmark."""

    @model_validator(mode="after")
    def systems_have_their_own_names(self) -> Self:
        """Refuse two systems of one name and a seed given twice."""
        names = [system.name or system.kind for system in self.systems]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"systems: two are called {twice}; give one of them a name")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: each must stand once")
        return self
