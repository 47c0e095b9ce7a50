"""Coloured text: every character of a token is shown as text, and colours say what values are."""

from __future__ import annotations

import re

import numpy as np
import pytest

import jaxeval as je

TOKENS = ["[CLS]", "not", "great", "##er", "<script>alert(1)</script>", "\x1b[2J&\"'", "[SEP]"]
A = [9.0, -1.0, 2.0, 0.5, 0.0, 0.1, 9.0]
COUNTED = [False, True, True, True, True, True, False]


def text(**more):
    return je.plot.text(TOKENS, A, counted=COUNTED, **more)


def test_nothing_of_a_token_is_markup():
    page = text(titles=["<b>&"])._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;&amp;" in page
    assert "\x1b" not in page
    assert "\x1b[2J" not in text().ansi()


def test_colours_are_relative_to_the_largest_that_counts():
    spans = re.findall(r'<span style="([^"]*)" title="([^"]*)">', text().html())
    alphas = [re.search(r"rgba\((\d+), .*?, ([\d.]+)\)", style) for style, _ in spans]
    assert [m and float(m[2]) for m in alphas] == [None, 0.5, 1.0, 0.25, 0.0, 0.05, None]
    assert {m[1] for m in alphas if m and float(m[2])} == {"213", "0"}  # orange and blue
    assert [float(v) for _, v in spans] == A
    assert text().plain().startswith("[CLS] not(-4) great(+9)er(+2) ")


def test_pieces_are_joined_in_every_tokenizer():
    plain = [
        je.plot.text(t, np.zeros(len(t))).plain()
        for t in (["un", "##do", "it"], ["Ġun", "do", "Ġit"], ["▁un", "do", "▁it"])
    ]
    assert plain == ["un(0)do(0) it(0)"] * 3


def test_words_are_shown_as_one_piece_with_their_sum():
    words = [-1, 0, 1, 1, 2, 2, -1]
    shown = je.plot.text(TOKENS, A, features=words, rationale=[0, 0, 0, 1, 0, 0, 0])
    spans = re.findall(r'title="([^"]*)">([^<]*)<', shown.html())
    assert [float(v) for v, _ in spans] == [9, -1, 2.5, 0.1, 9]
    assert spans[2][1] == "greater"
    assert shown.plain().startswith("[CLS] not(-4) _greater_(+9) ")
    assert shown.html().count("color: grey") == 2


def test_bytes_are_shown_as_characters():
    tokens = ["CafÃ©", "Ġtr", "Ã¨s", "Ġbon", "Ċ", "ĠÃ", "<|endoftext|>"]
    shown = je.plot.text(tokens, np.zeros(7), counted=[1, 1, 1, 1, 1, 1, 0])
    assert [p.text for p in shown.lines[0]] == [
        "Café", "tr", "ès", "bon", "Ċ", "Ã", "<|endoftext|>"
    ]  # fmt: skip
    whole = je.plot.text(tokens, np.zeros(7), features=[0, 1, 1, 2, 3, 4, -1])
    assert whole.plain() == "Café(0) très(0) bon(0)Ċ(0) Ã(0) <|endoftext|>"
    plain = je.plot.text(["cafÃ©", "▁x"], np.zeros(2))  # no bytes: the text itself
    assert [p.text for p in plain.lines[0]] == ["cafÃ©", "x"]


def test_rationales_are_underlined():
    marked = text(rationale=[0, 0, 1, 1, 0, 0, 0])
    assert marked.html().count("underline;") == 2
    assert marked.ansi().count(";4m") == 2
    assert "_great_(+9)_er_(+2)" in marked.plain()


def test_what_print_shows(monkeypatch, capsys):
    class Terminal:
        def isatty(self):
            return True

    shown = text()
    print(shown)
    assert capsys.readouterr().out == shown.plain() + "\n"
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert str(shown) == shown.ansi()
    monkeypatch.setenv("NO_COLOR", "1")
    assert str(shown) == shown.plain()


def test_several_texts_padding_and_undefined_maps():
    shown = je.plot.text([["a", "b"], ["c"]], [[1.0, -1.0], [np.nan, 5.0]], titles=[0, 1])
    assert shown.plain() == "0: a(+9) b(-9)\n1: c(?)"
    assert je.plot.text([], []).plain() == ""


def test_refused():
    with pytest.raises(ValueError, match="a must have a value for each token"):
        je.plot.text(["a", "b"], [1.0])
    with pytest.raises(ValueError, match="rationale must have a value for each token"):
        je.plot.text([["a", "b"]], [[1.0, 2.0]], rationale=[[True]])
    with pytest.raises(ValueError, match="1 titles for 2 texts"):
        je.plot.text([["a"], ["b"]], [[1.0], [2.0]], titles=["x"])
