from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Question(_message.Message):
    __slots__ = ("question", "model")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    question: str
    model: str
    def __init__(self, question: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("stage", "answer")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    stage: _struct_pb2.Struct
    answer: Reply
    def __init__(self, stage: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., answer: _Optional[_Union[Reply, _Mapping]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("id", "question", "answer", "justification", "citations", "support", "memories", "entity", "confirmed", "degraded", "stop_reason", "stages", "transcript", "usage", "seconds")
    ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    JUSTIFICATION_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    MEMORIES_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    STOP_REASON_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    TRANSCRIPT_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    question: str
    answer: str
    justification: str
    citations: _containers.RepeatedCompositeFieldContainer[Citation]
    support: _containers.RepeatedCompositeFieldContainer[Verdict]
    memories: _containers.RepeatedScalarFieldContainer[str]
    entity: str
    confirmed: bool
    degraded: bool
    stop_reason: str
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    transcript: _containers.RepeatedScalarFieldContainer[str]
    usage: Usage
    seconds: float
    def __init__(self, id: _Optional[str] = ..., question: _Optional[str] = ..., answer: _Optional[str] = ..., justification: _Optional[str] = ..., citations: _Optional[_Iterable[_Union[Citation, _Mapping]]] = ..., support: _Optional[_Iterable[_Union[Verdict, _Mapping]]] = ..., memories: _Optional[_Iterable[str]] = ..., entity: _Optional[str] = ..., confirmed: bool = ..., degraded: bool = ..., stop_reason: _Optional[str] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., transcript: _Optional[_Iterable[str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., seconds: _Optional[float] = ...) -> None: ...

class Citation(_message.Message):
    __slots__ = ("number", "stage", "question", "answer", "memory", "note", "support", "passages")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    number: int
    stage: str
    question: str
    answer: str
    memory: str
    note: str
    support: Support
    passages: _containers.RepeatedCompositeFieldContainer[Place]
    def __init__(self, number: _Optional[int] = ..., stage: _Optional[str] = ..., question: _Optional[str] = ..., answer: _Optional[str] = ..., memory: _Optional[str] = ..., note: _Optional[str] = ..., support: _Optional[_Union[Support, _Mapping]] = ..., passages: _Optional[_Iterable[_Union[Place, _Mapping]]] = ...) -> None: ...

class Support(_message.Message):
    __slots__ = ("supported", "score", "reflections", "note")
    SUPPORTED_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    REFLECTIONS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    supported: bool
    score: float
    reflections: _containers.RepeatedCompositeFieldContainer[Match]
    note: str
    def __init__(self, supported: bool = ..., score: _Optional[float] = ..., reflections: _Optional[_Iterable[_Union[Match, _Mapping]]] = ..., note: _Optional[str] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("reflection_id", "question", "answer", "score", "places")
    REFLECTION_ID_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PLACES_FIELD_NUMBER: _ClassVar[int]
    reflection_id: str
    question: str
    answer: str
    score: float
    places: _containers.RepeatedCompositeFieldContainer[Place]
    def __init__(self, reflection_id: _Optional[str] = ..., question: _Optional[str] = ..., answer: _Optional[str] = ..., score: _Optional[float] = ..., places: _Optional[_Iterable[_Union[Place, _Mapping]]] = ...) -> None: ...

class Place(_message.Message):
    __slots__ = ("document_id", "chunk_id", "start", "end")
    DOCUMENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNK_ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    document_id: str
    chunk_id: str
    start: int
    end: int
    def __init__(self, document_id: _Optional[str] = ..., chunk_id: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("number", "supported", "score")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    number: int
    supported: bool
    score: float
    def __init__(self, number: _Optional[int] = ..., supported: bool = ..., score: _Optional[float] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("stage", "turns", "lost", "asked", "unsure", "executive_input_tokens", "executive_output_tokens", "memory_input_tokens", "memory_output_tokens", "ended", "seconds")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    UNSURE_FIELD_NUMBER: _ClassVar[int]
    EXECUTIVE_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXECUTIVE_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    turns: int
    lost: int
    asked: int
    unsure: int
    executive_input_tokens: int
    executive_output_tokens: int
    memory_input_tokens: int
    memory_output_tokens: int
    ended: str
    seconds: float
    def __init__(self, stage: _Optional[str] = ..., turns: _Optional[int] = ..., lost: _Optional[int] = ..., asked: _Optional[int] = ..., unsure: _Optional[int] = ..., executive_input_tokens: _Optional[int] = ..., executive_output_tokens: _Optional[int] = ..., memory_input_tokens: _Optional[int] = ..., memory_output_tokens: _Optional[int] = ..., ended: _Optional[str] = ..., seconds: _Optional[float] = ...) -> None: ...

class Tokens(_message.Message):
    __slots__ = ("input_tokens", "output_tokens")
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    input_tokens: int
    output_tokens: int
    def __init__(self, input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("executive", "memory")
    EXECUTIVE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    executive: Tokens
    memory: Tokens
    def __init__(self, executive: _Optional[_Union[Tokens, _Mapping]] = ..., memory: _Optional[_Union[Tokens, _Mapping]] = ...) -> None: ...
