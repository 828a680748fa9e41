from __future__ import annotations

import pytest

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.protocol.candidates import aimed_at, best, confirm, judge, name_of, pivot, replacement, tally_of
from memo_ray.protocol.state import Candidate, SubQuestion, Tally

CONFIG = ProtocolConfig()
VERRAN, STELL, KESS = Candidate("Ilse Verran", 1), Candidate("Odo Stell", 2), Candidate("Jory Kess", 3)
LISTED = (VERRAN, STELL, KESS)


def row(name, rank, supporting=(), against=()):
    return {"name": name, "rank": rank, "for": list(supporting), "against": list(against)}


def test_two_uncertain_answers_move_down_two_ranks_once():
    first = judge(LISTED, (), ["ilse verran"], CONFIG)
    assert first.candidates == LISTED
    second = judge(first.candidates, first.tallies, ["ilse verran"], CONFIG)
    assert second.demoted == ("Ilse Verran",)
    assert [item.rank for item in second.candidates] == [3, 2, 3]
    third = judge(second.candidates, second.tallies, [], CONFIG)
    assert third.demoted == ()
    assert third.candidates == second.candidates


def test_three_uncertain_answers_strike_off():
    verdict = judge(LISTED, (), ["ilse verran"] * 3, CONFIG)
    assert verdict.struck == ("Ilse Verran",)
    assert verdict.demoted == ()
    assert verdict.candidates == (STELL, KESS)
    assert tally_of(verdict.tallies, "ILSE VERRAN").struck


def test_one_turn_can_count_for_several_candidates():
    verdict = judge(LISTED, (), ["ilse verran", "odo stell", "ilse verran", "odo stell"], CONFIG)
    assert verdict.demoted == ("Ilse Verran", "Odo Stell")


def test_a_confirmation_saves_from_demotion_but_not_from_elimination():
    tallies = confirm((), [{"evidence": 1, "effect": "confirms", "about": "ilse verran"}], {1})
    verdict = judge(LISTED, tallies, ["ilse verran"] * 2, CONFIG)
    assert verdict.candidates == LISTED
    assert judge(verdict.candidates, verdict.tallies, ["ilse verran"], CONFIG).struck == ("Ilse Verran",)


@pytest.mark.parametrize(("effect", "evidence", "about"), [("adds", 1, "X"), ("confirms", 2, "X"), ("confirms", 1, "")])
def test_only_a_confirming_certain_answer_about_a_name_confirms(effect, evidence, about):
    tallies = confirm((), [{"evidence": evidence, "effect": effect, "about": about}], {1})
    assert not tally_of(tallies, "X").confirmed


def test_limits_are_settings():
    config = ProtocolConfig(demote_after=1, eliminate_after=2)
    verdict = judge(LISTED, (), ["jory kess"], config)
    assert verdict.demoted == ("Jory Kess",)
    assert judge(verdict.candidates, verdict.tallies, ["jory kess"], config).struck == ("Jory Kess",)


def test_the_best_has_the_lowest_rank_and_the_first_wins_a_tie():
    assert best((KESS, STELL, VERRAN)) == VERRAN
    assert best((Candidate("B", 2), Candidate("A", 2))) == Candidate("B", 2)
    assert best(()) is None


def test_a_new_list_replaces_the_old_in_the_executives_order():
    kept, refused = replacement([row("B", 2, [1, 1, 9], [2]), row("A", 1), row("b.", 5), row("none", 1)], (), {1, 2})
    assert kept == (Candidate("B", 2, (1,), (2,)), Candidate("A", 1))
    assert refused == ()


def test_a_struck_name_is_refused_and_a_demoted_one_stays_down():
    tallies = (Tally("a", unsure=3, struck=True), Tally("b", unsure=2, lowest=3), Tally("c", 2, True, lowest=3))
    kept, refused = replacement([row("A", 1), row("B", 1), row("C", 1)], tallies, set())
    assert kept == (Candidate("B", 3), Candidate("C", 1))
    assert refused == ("A",)


def test_a_sub_question_is_aimed_at_the_candidate_it_names():
    assert aimed_at(SubQuestion("Who kept a heron?", about="odo stell"), LISTED) == ("odo stell",)
    assert aimed_at(SubQuestion("Did Ilse Verran meet Odo Stell?"), LISTED) == ("ilse verran", "odo stell")
    assert aimed_at(SubQuestion("Did Ilse Verran sail?", about="somebody else"), LISTED) == ("ilse verran",)
    assert aimed_at(SubQuestion("Which Kessel was lost?"), LISTED) == ()


@pytest.mark.parametrize("text", ["", "none", "None.", "NULL", "N/A", "unknown"])
def test_no_name_is_no_name(text):
    assert name_of(text) == ""


def test_a_pivot_goes_to_another_listed_candidate():
    assert pivot(LISTED, "Ilse Verran", "the Odo Stell") == STELL
    assert pivot(LISTED, "Ilse Verran", "ilse verran") is None
    assert pivot(LISTED, "Ilse Verran", "Nobody Here") is None
    assert pivot(LISTED, "Ilse Verran", "") is None
