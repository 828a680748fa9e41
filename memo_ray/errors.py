"""The errors that memo-ray raises on purpose; each message names the key or file and says what to do.

They are picklable with a single message argument, so that they cross Ray's process boundaries unchanged.
`memo` prints the message of a MemoError as one line and exits with its `exit_status`; any other exception is
a bug and keeps its traceback.
"""


class MemoError(Exception):
    """Base of every expected failure. Subclasses take one message and add no constructor arguments."""

    exit_status = 2


class ConfigError(MemoError, ValueError):
    """A key of a configuration file or a command-line argument is wrong."""


class CorpusError(MemoError, ValueError):
    """Documents or questions cannot be read."""


class GenerationError(MemoError, RuntimeError):
    """A model or its endpoint cannot answer, or too many of its answers were rejected."""


class TrainingError(MemoError, RuntimeError):
    """The memory model cannot be trained."""


class MergeError(MemoError, ValueError):
    """Memories cannot be merged as asked."""


class ProtocolError(MemoError, RuntimeError):
    """The question-answering protocol was driven out of order or given an unusable setting."""


class StoreError(MemoError, OSError):
    """An artefact cannot be read or written."""


class BeingMade(StoreError):
    """Another process is making the artefact; the same command works when it has ended."""


class FinishedElsewhere(StoreError):
    """Another process finished the artefact first; it is there to be used."""


class EnvironmentProblem(MemoError, RuntimeError):
    """The machine lacks something that a run needs: a compiler, memory, disk, a port."""


class PromptRefused(GenerationError):
    """The model is well but cannot take this prompt: it is too long, or the chat template does not allow it."""


class SpendingLimitReached(GenerationError):
    """An endpoint has cost as much as its settings allow; the replies so far are kept."""


class EngineDied(GenerationError):
    """The model's own engine process ended; a new engine may answer where this one cannot any more."""
