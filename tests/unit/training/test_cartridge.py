from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from safetensors.torch import load_file

from memo_ray.config.cartridges import CartridgeTraining
from memo_ray.errors import GenerationError, TrainingError
from memo_ray.models.cartridge import CartridgeModel, folder_of
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.rows import LedgerEntry, Reflection
from memo_ray.training.cartridge import PIECE_TOKENS, drawn, pairs_by_document, pieces, train_cartridge

TEXT = (
    "The surveyor charted the coast in 1791 aboard a small cutter. The harbour master's daughter kept the lighthouse."
)
PAIRS = [("Who charted the coast?", "The surveyor"), ("Who kept the lighthouse?", "The daughter")]
SETTINGS = CartridgeTraining(tokens=16, samples=24, batch_size=2, learning_rate=0.05)


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cartridges")
    for name in ("one", "two"):
        train_cartridge(tiny_model, TEXT, PAIRS, SETTINGS, folder_of(root, name))
    return root


def reply(model: CartridgeModel, *adapters: Path) -> ChatReply:
    request = ChatRequest("q", ({"role": "user", "content": PAIRS[0][0]},), 0.0, 6)
    return asyncio.run(model.chat(request, adapters))


def test_training_brings_the_student_to_the_teacher(tiny_model: Path, tmp_path: Path) -> None:
    found = train_cartridge(tiny_model, TEXT, PAIRS, SETTINGS, tmp_path / "a")
    assert found.cache_tokens == 16 and found.truncated == 0 and len(found.losses) == 12
    assert sum(found.losses[-3:]) < 0.7 * sum(found.losses[:3])
    names = {path.name for path in (tmp_path / "a").iterdir()}
    assert "adapter_model.safetensors" in names and not any(name.endswith((".bin", ".pt")) for name in names)


def test_the_frozen_model_stays_out_of_the_adapter(trained: Path) -> None:
    (weights,) = load_file(folder_of(trained, "one") / "adapter_model.safetensors").values()
    assert weights.shape[0] == 16


def test_a_reply_over_one_cache_and_over_two(tiny_model: Path, trained: Path) -> None:
    model = CartridgeModel(tiny_model)
    one = reply(model, folder_of(trained, "one"))
    assert one.output_tokens and one.input_tokens < 60  # the document is not in the prompt
    both = reply(model, folder_of(trained, "one"), folder_of(trained, "two"))
    assert both.output_tokens
    assert reply(model, folder_of(trained, "one")) == one


def test_an_adapter_that_is_none(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(GenerationError, match="cartridge x: cannot be used"):
        reply(CartridgeModel(tiny_model), tmp_path / "x")


def test_a_document_without_pairs_is_learned_from_its_text(tiny_model: Path, tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"context_tokens": 64})
    text = TEXT * 8
    found = train_cartridge(tiny_model, text, [], short, tmp_path / "a")
    assert found.from_text and found.truncated == 0 and found.document_tokens > 64  # it reads what no teacher would
    # It is one piece, foretold better at every step; a frozen random model leaves a cache little room.
    assert len(found.losses) == 12 and found.losses == sorted(found.losses, reverse=True)
    assert not train_cartridge(tiny_model, text, PAIRS, short, tmp_path / "b").from_text
    model = CartridgeModel(tiny_model)
    assert reply(model, tmp_path / "a") != reply(model, tmp_path / "b")


def test_every_token_but_the_first_is_foretold_once() -> None:
    for length in (2, PIECE_TOKENS, PIECE_TOKENS + 1, 3 * PIECE_TOKENS):
        ids = list(range(length))
        found = pieces(ids)
        assert [token for piece in found for token in piece[1:]] == ids[1:]
        assert all(2 <= len(piece) <= PIECE_TOKENS for piece in found)


def test_a_document_of_one_token(tiny_model: Path, tmp_path: Path) -> None:
    assert pieces([7]) == [[7]]
    found = train_cartridge(tiny_model, "a", [], SETTINGS, tmp_path / "a")
    assert found.from_text and (tmp_path / "a" / "adapter_model.safetensors").is_file()


def test_a_document_without_text(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="has no text to learn from"):
        train_cartridge(tiny_model, " ", PAIRS, SETTINGS, tmp_path)


def test_a_teacher_that_could_not_read_it_all_says_so(tiny_model: Path, tmp_path: Path) -> None:
    short = CartridgeTraining(tokens=8, samples=2, context_tokens=64)
    found = train_cartridge(tiny_model, TEXT * 4, PAIRS, short, tmp_path)
    assert found.truncated == found.document_tokens - 64 > 0


def test_every_pair_once_before_any_comes_again() -> None:
    batches = drawn([("a", ""), ("b", ""), ("c", "")], CartridgeTraining(samples=7, batch_size=3))
    flat = [question for batch in batches for question, _ in batch]
    assert [len(batch) for batch in batches] == [3, 3, 1]
    assert sorted(flat[:3]) == sorted(flat[3:6]) == ["a", "b", "c"]


def test_pairs_come_by_document_from_the_ledger() -> None:
    rows = [Reflection(f"r{n}", f"q{n}", "a", "direct", "held_out" if n == 2 else "train") for n in range(3)]
    ledger = [LedgerEntry(f"r{n}", "direct", [], ["d1", "d2"][: n + 1], "", [], "", "", 0) for n in range(3)]
    assert pairs_by_document(rows, ledger) == {"d1": [("q0", "a"), ("q1", "a")], "d2": [("q1", "a")]}
