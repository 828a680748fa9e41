"""The console in a real Chromium: asking, comparing, looking things up, keys, the keyboard, narrow and dark screens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from memo_ray.protocol.protocol import replay
from tests.browser.conftest import Visits
from tests.browser.scripted_gateway import BROKEN, EVIL, HERON, LONG, NOTHING, QUESTION, Engine, Scripted, Served

pytestmark = pytest.mark.slow

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8").rstrip().rstrip(";")


def ask(page: Any, question: str, model: str = "memo", other: str = "") -> None:
    page.select_option("#model", model)
    page.select_option("#other", other)
    page.fill("#question", question)
    page.click("#ask-form button[type=submit]")


def open_all(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")


def check(page: Any) -> None:
    """What holds for every screen."""
    assert page.evaluate(CHECKS) == {"nameless": [], "dull": [], "misfits": []}


@pytest.fixture
def engine(backend: Scripted) -> Iterator[Engine]:
    """The engine, which a test may hold at an ask."""
    yield backend.engine
    backend.engine.held = NOTHING


def test_a_question_is_watched_from_stage_to_stage(visit: Visits, engine: Engine) -> None:
    page = visit().page
    engine.held = "grounding-001.m"
    ask(page, QUESTION)
    page.wait_for_selector(".status:has-text('Stage 1: grounding, turn 1 of 1')")
    page.wait_for_selector(".reply.waiting")
    assert page.locator(".reply.waiting").count() == 3
    engine.held = "identification-002"
    page.wait_for_selector(".candidates tr:has-text('Odo Stell'):has-text('moved down')")
    assert page.locator(".candidates tr.out").count() == 0
    engine.held = "identification-003"
    page.wait_for_selector(".candidates tr.out:has-text('Odo Stell'):has-text('eliminated')")
    assert page.locator(".answer").count() == 0
    engine.held = NOTHING
    page.wait_for_selector(".status.good:has-text('Answered in')")
    assert page.locator(".answer-text").inner_text() == "1790"
    rows = page.locator(".candidates tbody tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["1", "–", "–"]
    assert "Ilse Verran" in rows[0] and "confirmed" in rows[0]
    open_all(page)
    assert page.locator(".log .sub").count() == 8
    assert page.locator(".log .reply.unsure").count() == 4
    # Markup in a candidate, an answer and the reason is text.
    assert page.get_by_text(EVIL).count() >= 3
    assert page.locator("main img, main script").count() == 0
    with page.expect_download() as saved:
        page.click("text=Save with its transcript")
    kept = json.loads(Path(saved.value.path()).read_text(encoding="utf-8"))
    assert replay(kept["transcript"]).answer == "1790"
    assert "?" not in page.url and "#" not in page.url


def test_a_citation_opens_its_place_in_the_document(visit: Visits) -> None:
    page = visit().page
    ask(page, QUESTION)
    page.wait_for_selector(".answer")
    assert page.locator(".citations > li").count() == 3
    assert page.locator(".citations > li:has-text('not supported by the ledger')").count() == 1
    page.locator(".citations .place").first.click()
    page.wait_for_selector("#source mark")
    assert page.locator("#source-title").inner_text() == "The chronicle of Port Amber"
    assert page.locator("#source mark").inner_text() in HERON
    near = len(page.locator("#source-text").inner_text())
    check(page)
    page.click("#source-more")
    page.wait_for_function("(near) => document.querySelector('#source-text').innerText.length > near", arg=near)
    page.keyboard.press("Escape")
    assert not page.locator("#source").is_visible()
    assert page.evaluate("document.activeElement.className") == "place"


def test_two_models_are_asked_side_by_side(visit: Visits) -> None:
    page = visit().page
    ask(page, LONG, "memo/law@2", "memory/wiki")
    page.wait_for_selector(".run:nth-child(1) .status.good")
    page.wait_for_selector(".run:nth-child(2) .status:has-text('Cut at its longest length, 4 tokens')")
    left, right = (page.locator(".run").nth(n).bounding_box() for n in (0, 1))
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    assert page.locator(".run h2").all_inner_texts() == ["memo/law@2", "memory/wiki"]
    assert page.locator(".run").nth(0).locator(".tag:text-is('law@2')").count() == 1
    assert f"memory/wiki says {EVIL}" in page.locator(".run").nth(1).inner_text()
    check(page)
    page.set_viewport_size({"width": 360, "height": 740})
    left, right = (page.locator(".run").nth(n).bounding_box() for n in (0, 1))
    assert left["x"] == right["x"] and left["y"] + left["height"] <= right["y"]
    check(page)


def test_who_stops_or_asks_anew_stops_the_work(visit: Visits, backend: Scripted, engine: Engine) -> None:
    page = visit().page
    before = backend.left
    engine.held = "grounding-001.m"
    ask(page, QUESTION)
    page.wait_for_selector(".reply.waiting")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector(".status.warn:has-text('Stopped')")
    assert page.locator(".reply.waiting").count() == 0
    ask(page, QUESTION)
    page.wait_for_selector(".reply.waiting")
    ask(page, QUESTION, "memory")
    page.wait_for_selector(".status:has-text('Cut at its longest length')")
    assert page.locator(".run").count() == 1
    for _ in range(100):
        if backend.left == before + 2:
            break
        page.wait_for_timeout(100)
    assert backend.left == before + 2


def test_a_failure_is_told(visit: Visits, open_gateway: Served) -> None:
    page = visit().page
    ask(page, BROKEN)
    page.wait_for_selector(".run .notice.bad:has-text('the engine died')")
    assert page.locator(".run .status").inner_text() == "No answer"
    ask(page, "x" * 70_000)
    page.wait_for_selector(".run .notice.bad:has-text('the body is larger than 64 KiB')")
    check(page)


def test_documents_are_looked_through(visit: Visits) -> None:
    page = visit().page
    page.get_by_role("link", name="Documents").click()
    page.wait_for_selector("table.documents")
    assert page.locator(".pager").inner_text().split("\n")[1] == "1–25 of 42 documents"
    assert page.get_by_text(EVIL).count() == 1
    page.get_by_role("button", name="Next").click()
    page.wait_for_selector(".pager:has-text('26–42 of 42 documents')")
    assert page.get_by_role("button", name="Next").is_disabled()
    page.select_option("#sort", "recall")
    page.wait_for_selector("table.documents tbody tr:first-child td:has-text('0%')")
    page.fill("#words", "CHRONICLE")
    page.keyboard.press("Enter")
    page.wait_for_selector(".pager:has-text('1–1 of 1 document')")
    assert "50%" in page.locator("table.documents tbody").inner_text()
    page.get_by_role("button", name="The chronicle of Port Amber").click()
    page.wait_for_selector(".pairs > li:has-text('Who kept a tame heron?')")
    assert page.locator(".pairs .tag:text-is('not recalled')").count() == 1
    check(page)
    page.locator(".pairs .place").first.click()
    page.wait_for_selector("#source mark:has-text('tame heron')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_holds_everything(visit: Visits, scheme: str) -> None:
    page = visit(width=360, height=740, scheme=scheme).page
    ask(page, LONG)
    page.wait_for_selector(".answer")
    open_all(page)
    check(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("link", name="Documents").click()
    # The columns that matter are there without scrolling.
    assert page.locator("table.documents thead th").last.bounding_box()["x"] < 360
    page.get_by_role("button", name=EVIL).click()
    page.wait_for_selector(".pairs > li")
    check(page)
    page.locator(".pairs .place").first.click()
    page.wait_for_selector("#source mark")
    check(page)


def test_colours_follow_the_system_or_the_choice(visit: Visits) -> None:
    page = visit(scheme="dark").page
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.select_option("#theme", "light")
    assert page.evaluate(ground) != dark
    page.reload()
    assert page.evaluate(ground) != dark
    page.select_option("#theme", "")
    assert page.evaluate(ground) == dark


def test_everything_is_reached_by_keyboard(visit: Visits) -> None:
    page = visit().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_selector(".answer")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "place":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#source mark")
    assert page.evaluate("document.activeElement.closest('dialog')?.id") == "source"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "place"


def test_a_key_is_asked_for_and_stays_in_the_tab(visit: Visits, keyed_gateway: Served) -> None:
    seen = visit(keyed_gateway.url)
    page = seen.page
    page.wait_for_selector("#key[open]")
    assert page.evaluate("document.activeElement.id") == "key-value"
    check(page)
    page.keyboard.type("k-asker")
    page.keyboard.press("Enter")
    page.wait_for_selector("#model option", state="attached")
    # The scope of this key: one memory, and none of its documents.
    assert page.locator("#model option").all_inner_texts() == ["memo/law", "memo/law@2"]
    page.get_by_role("link", name="Documents").click()
    page.wait_for_selector("#listing .notice:has-text('this key may not read documents')")
    page.reload()
    page.wait_for_selector("#model option", state="attached")
    stored = "JSON.stringify([Object.values(localStorage), document.cookie, location.href])"
    assert "k-asker" not in page.evaluate(stored)
    assert not [url for url in seen.requests if "k-asker" in url]
    page.click("#open-key")
    page.click("#forget-key")
    page.wait_for_selector("#notice:has-text('no API key')")
    assert page.evaluate("sessionStorage.length") == 0
