"""The page: read by an HTML parser that wants every tag closed, no outside resource, names escaped, numbers as they are."""

import base64
from html.parser import HTMLParser

import pytest

from paddle_cls.evaluation import page

VOID = {"meta", "img", "br", "link", "input", "hr"}
NASTY = '<b>&"x'


class Reader(HTMLParser):
    """Collects what a page shows; fails on tags that do not close each other."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "not closed"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "title"} & set(self.open):
            self.texts.append(data)

    def images(self) -> list[tuple[bytes, str]]:
        """Return (content, alt) of each picture; all are inside the page."""
        sources = [attrs for tag, attrs in self.tags if tag == "img"]
        assert all(attrs["src"].startswith("data:image/png;base64,") and attrs["alt"] for attrs in sources)
        return [(base64.b64decode(attrs["src"].partition(",")[2], validate=True), attrs["alt"]) for attrs in sources]


def test_a_table_has_headers_and_escapes_what_is_in_it():
    text = page.table(f"of {NASTY}", ["class", NASTY, "share"], [[NASTY, 12345, 0.25], ["b", None, "words & more"]], words=(2,))
    reader = Reader(text)
    assert NASTY not in text and "<b>" not in text
    assert [t.strip() for t in reader.texts if t.strip()] == [
        f"of {NASTY}", "class", NASTY, "share", NASTY, "12,345", "0.2500", "b", "not defined", "words & more"]
    scopes = [attrs["scope"] for tag, attrs in reader.tags if tag == "th"]
    assert scopes == ["col"] * 3 + ["row"] * 2
    words = [tag for tag, attrs in reader.tags if attrs.get("class") == "word"]
    assert words == ["th", "td", "td"]


def figures(**changed) -> tuple[dict, dict[str, bytes]]:
    """Return (figures, pngs) of a small report on three classes, one of which has a name that could be taken for HTML."""
    rows = [{"class": name, "samples": 2, "answers": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5, "ap": 0.75}
            for name in ("a", NASTY)]
    rows.append({"class": "c", "samples": 0, "answers": 0, "precision": None, "recall": None, "f1": None, "ap": None})
    unsure = {"file": "unsure_01.png", "name": "b.jpg", "class": "a", "answer": NASTY, "probability": 0.34, "heat": []}
    picture = {"file": "wrong_01.png", "name": f"{NASTY}.jpg", "class": NASTY, "answer": "a", "probability": 0.987,
               "heat": [{"class": "a", "file": "wrong_01_answer.png"}, {"class": NASTY, "file": "wrong_01_class.png"}]}
    content = {
        "checkpoint": f"runs/{NASTY}/best", "step": 1234, "model": "resnet", "dataset": NASTY, "split": "val", "samples": 4,
        "tta": "none", "side": 32, "binary": None,
        "summary": {"loss": 0.7, "acc1": 0.5, "error_rate": 0.5, "map": 0.75, "recall": 0.5, "f1": 0.5, "ece": 0.125},
        "classes": rows, "mistakes": [{"class": "a", "answer": NASTY, "count": 1, "share": 0.5}],
        "calibration": {"ece": 0.125, "bins": [{"low": 0.0, "high": 1.0, "samples": 4, "accuracy": 0.5, "confidence": 0.625}]},
        "pictures": {"wrong": [picture], "unsure": [unsure], "right": []},
        "grad_cam": {"layer": "res3", "cells": [8, 8]}, **changed}
    names = ["confusion.png", "reliability.png", "wrong_01.png", "wrong_01_answer.png", "wrong_01_class.png", "unsure_01.png"]
    return content, {name: f"content of {name}".encode() for name in names}


def test_the_page_parses_holds_every_picture_once_and_needs_nothing_else():
    content, pngs = figures()
    text = page.render(content, pngs)
    reader = Reader(text)
    assert text.startswith("<!DOCTYPE html>") and ("html", {"lang": "en"}) in reader.tags
    assert sorted(png for png, _ in reader.images()) == sorted(pngs.values())
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in reader.tags}
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert "<b>&" not in text and NASTY not in text
    shown = " ".join(reader.texts)
    for words in (f"runs/{NASTY}/best", "after 1,234 steps", f"in truth {NASTY}", f"{NASTY}.jpg", "98.7%", "0.6250",
                  "not defined", "8x8 cells of the layer “res3”", "None."):
        assert words in shown, words
    alts = dict(reader.images())
    assert alts[b"content of wrong_01_class.png"] == f"{NASTY}.jpg, {NASTY}: what speaks for {NASTY}"
    assert f"a called {NASTY} 1 times" in alts[b"content of confusion.png"]
    tags = [tag for tag, _ in reader.tags]
    assert {tags.count(tag) for tag in ("table", "caption", "thead", "tbody")} == {3}


@pytest.mark.parametrize("tta, words", [("flip", "mean over 2 views"), ("flips", "4 views"), ("crops", "10 views")])
def test_the_page_says_how_many_views_were_averaged(tta, words):
    content, pngs = figures(tta=tta)
    assert words in page.render(content, pngs)
    assert "views" not in page.render(*figures()) and "plain view" not in page.render(*figures())


def test_a_report_without_pictures_does_not_say_that_nothing_was_wrong():
    text = page.render(*figures(pictures={"wrong": [], "unsure": [], "right": []}))
    assert "Surest wrong" not in text and "None." not in text


def test_a_yes_or_no_network_has_its_own_part():
    binary = {"auc": 0.9, "auc_low": 0.8, "auc_high": 0.95, "sensitivity": 0.75, "specificity": 0.625, "tp": 7, "fp": 2, "tn": 5,
              "fn": 1}
    content, pngs = figures(binary=binary)
    chosen = {"threshold": 0.3, "threshold_acc1": 0.8125, "threshold_sensitivity": 1.0, "threshold_specificity": 0.375}
    pngs |= {"roc.png": b"roc", "pr.png": b"pr"}
    shown = " ".join(Reader(page.render(content, pngs)).texts)
    assert "7 true yes, 2 false yes, 5 true no, 1 false no" in shown and "95%: 0.8000 to 0.9500" in shown
    assert f"Yes or no: {NASTY}" in shown and "chosen on other images" not in shown
    shown = " ".join(Reader(page.render({**content, "binary": binary | chosen}, pngs)).texts)
    assert "0.300 (chosen on other images)" in shown and "0.8125" in shown


def test_a_page_fits_a_phone_paper_and_the_dark():
    text = page.render(*figures())
    for rule in ("@media screen and (prefers-color-scheme: dark)", "img.chart { filter: invert(.91) hue-rotate(180deg)",
                 "@media screen and (max-width: 40rem)", "overflow-x: auto", "@page { size: A4",
                 "h1, h2, .lead { break-after: avoid",
                 ".wide { overflow: visible", "img.chart, .wide > img.chart { max-width: 100%; max-height: 20cm"):
        assert rule in text, rule
    tags = Reader(text).tags
    assert [attrs.get("class") for tag, attrs in tags if tag == "img"].count("chart") == 2
    assert [attrs["class"] for tag, attrs in tags if attrs.get("class") in ("wide", "fits")] == ["wide", "fits", "wide", "wide"]
    assert text.count("Swipe sideways") == 1       # only the table of classes has more columns than a phone has room for
    many = [dict(figures()[0]["classes"][0], **{"class": f"c{i}"}) for i in range(page.MOST_FITTING + 1)]
    assert "scroll or swipe sideways" in page.render(*figures(classes=many)) and "scroll or swipe" not in text


def test_the_maps_are_told_by_their_places():
    shown = " ".join(Reader(page.render(*figures())).texts)
    assert ("Middle: what supported the network's answer. Right: what would support the true class. "
            "Red = strong, no colour = none.") in shown
