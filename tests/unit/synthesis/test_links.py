"""Links: rare entities, hubs split by the words beside them, neighbours by words."""

from __future__ import annotations

import random

import numpy as np

from memo_ray.config.synthesis import Connections
from memo_ray.synthesis.links import Links, link
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.terms import term_table
from tests.unit.synthesis.conftest import make_pair

OFF = Connections(candidates="shared_entities", rare_in_chunks=5, hub_neighbours=0, neighbours=0)


def linked(pairs: list[Pair], **changes: int) -> Links:
    """The links of pairs that are each of another chunk."""
    return link(term_table(pairs, range(len(pairs)), True), OFF.model_copy(update=changes))


def among(links: Links, one: int, two: int) -> bool:
    return (min(one, two), max(one, two)) in set(zip(links.anchors.tolist(), links.others.tolist(), strict=True))


def told(name: str, words: str) -> Pair:
    return make_pair(f"What did {name} do with {words}?", f"the {words}", evidence="")


def a_hub_and_its_bridge() -> list[Pair]:
    """Thirty pairs about Lena Korb; the first and the last share two words that others have too, never both."""
    draw = random.Random(0)
    ordinary = "lamp wall boat salt rope mill glass clock tower bridge".split()
    pairs = [told("Lena Korb", " ".join(draw.sample(ordinary[2:], 3))) for _ in range(28)]
    pairs[3], pairs[9] = told("Lena Korb", "lamp salt"), told("Lena Korb", "wall rope")
    return [told("Lena Korb", "lamp wall mill"), *pairs, told("Lena Korb", "lamp wall clock")]


def test_a_hub_alone_connects_nothing_and_split_by_its_context_it_finds_the_bridge():
    pairs = a_hub_and_its_bridge()
    assert len(linked(pairs)) == 0
    split = linked(pairs, hub_neighbours=1)
    assert among(split, 0, len(pairs) - 1)
    assert len(split) <= len(pairs)


def test_a_name_in_few_chunks_but_many_pairs_is_a_hub():
    pairs = [told("Lena Korb", f"word{n}") for n in range(12)]
    table = term_table(pairs, [n // 4 for n in range(12)], True)
    assert len(link(table, OFF)) == 3 * 4 * 4
    assert len(link(table, OFF.model_copy(update={"rare_in_pairs": 11}))) == 0


def test_words_link_what_shares_no_name_and_chunks_are_never_linked_with_themselves():
    pairs = [told("Imre Solt", "lantern keys"), told("Ove Brandt", "lantern keys"), told("Ada Wynn", "salt")]
    assert [*zip(*(ends.tolist() for ends in (linked(pairs, neighbours=2).anchors,)), strict=True)] == [(0,)]
    same_chunk = term_table(pairs, [0, 0, 1], True)
    assert len(link(same_chunk, OFF.model_copy(update={"neighbours": 2}))) == 0


def test_vectors_take_the_place_of_words():
    pairs = [told("Imre Solt", "lantern keys"), told("Ove Brandt", "lantern keys"), told("Ada Wynn", "salt")]
    table = term_table(pairs, range(3), True)
    vectors = np.asarray([[1, 0], [0, 1], [0.8, 0.6]], dtype=np.float32)
    links = link(table, OFF.model_copy(update={"neighbours": 1}), vectors)
    assert among(links, 0, 2) and not among(links, 0, 1)


def test_links_are_found_once_in_order_and_again_the_same():
    draw = random.Random(1)
    names = ["Lena Korb", "Imre Solt", "Ove Brandt", "Ada Wynn"]
    pairs = [told(draw.choice(names), " ".join(f"w{draw.randrange(30)}" for _ in range(5))) for _ in range(80)]
    first, again = (linked(pairs, hub_neighbours=5, neighbours=5) for _ in range(2))
    keys = list(zip(first.anchors.tolist(), first.others.tolist(), strict=True))
    assert len(set(keys)) == len(keys) > 100 and all(one < two for one, two in keys)
    assert sorted(first.anchors.tolist()) == first.anchors.tolist()
    assert keys == list(zip(again.anchors.tolist(), again.others.tolist(), strict=True))
    assert [anchor for anchor, _ in first.rows()] == sorted(set(first.anchors.tolist()))
    assert sum(len(others) for _, others in first.rows()) == len(first)


def test_the_number_of_links_is_bounded_by_the_budgets():
    pairs = [told("Lena Korb", f"alpha beta gamma w{n % 40}") for n in range(400)]
    assert len(linked(pairs, hub_neighbours=3, neighbours=4)) <= 400 * (3 + 4)


def test_a_whole_chunk_as_evidence_does_not_give_its_names_to_every_pair():
    chunk = "Lena Korb was there. " + "Nothing else was said about it that day. " * 20
    table = term_table([make_pair("Who founded Varda?", "Imre Solt", evidence=chunk)], [0], True)
    assert table.entity_names == ["Varda", "Imre Solt"]


def test_a_group_without_pairs_has_no_links():
    assert len(linked([])) == 0
    assert len(linked([told("Lena Korb", "salt")], hub_neighbours=2, neighbours=2)) == 0
