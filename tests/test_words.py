"""Words for people: counts, lists, and texts from outside."""

import ast
import re
from pathlib import Path

import pytest

import mdl_tf
from mdl_tf.words import (
    as_cell,
    clean,
    count,
    first_few,
    from_cell,
    listing,
    plural,
    printable,
    shorten,
)


@pytest.mark.parametrize(
    ("amount", "noun", "words"),
    [
        (0, "epoch", "0 epochs"),
        (1, "epoch", "1 epoch"),
        (1200, "image", "1,200 images"),
        (1, "class", "1 class"),
        (2, "class", "2 classes"),
        (2, "loss", "2 losses"),
    ],
)
def test_count(amount, noun, words):
    assert count(amount, noun) == words
    assert plural(noun) in words or amount == 1


def test_lists():
    assert [listing(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        *("", "a", "a and b", "a, b and c"),
    ]
    assert listing(word for word in "ab") == "a and b"
    assert first_few(["a", "b"], 2) == "a, b"
    assert first_few([str(n) for n in range(2000)], 3) == "0, 1, 2 and 1,997 more"
    assert first_few([], 3) == ""


@pytest.mark.parametrize("most", [5, 6, 10, 11, 99, 100])
def test_a_shortened_text_keeps_both_ends_and_its_length(most):
    text = "begin" + "x" * 90 + "the end"
    short = shorten(text, most)
    assert len(short) == most
    assert short[0] == "b" and short[-1] == "d" and "..." in short
    assert shorten(text, len(text)) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a  b\n\tc ", "a b c"),
        ("Gerät 識別 🚗 é", "Gerät 識別 🚗 é"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("half \ud83d", r"half \ud83d"),
        ("null\0bell\x07", r"null\x00bell\x07"),
        ("invoice\u202egpj.exe", r"invoice\u202egpj.exe"),
        ("\u2067turned\u2069", r"\u2067turned\u2069"),
        # Letters of Persian that only join differently, and words from right to left.
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("", ""),
    ],
)
def test_a_text_from_outside(text, shown):
    assert clean(text) == shown
    clean(text).encode()  # as any file of text needs it


def test_a_long_text_from_outside_is_cut_before_its_codes_are_spelt():
    assert clean("x" * 50 + "\x1b" * 50, 10) == "xxx...\\x1b\\x1b\\x1b\\x1b"


def test_nothing_else_makes_plurals_or_cuts_names():
    """No `"s" * (n != 1)`, `"s" if n > 1 else ""`, `name[:25] + "..."` beside `mdl_tf.words`."""
    suffix = r"""["'](e?s)["'] (\*|if)"""
    cut = r"""\[:[^\]]*\]\}?(["'] ?\+ ?f?["'])?\.\.\.|\] ?\+ ?["']\.\.\.["']"""
    found = []
    for path in Path(mdl_tf.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        ast.parse(text)
        if path.name != "words.py":
            found += [f"{path.name}: {m[0]}" for m in re.finditer(f"{suffix}|{cut}", text)]
    assert not found


def test_that_test_can_fail():
    suffix = r"""["'](e?s)["'] (\*|if)"""
    assert re.search(suffix, '"epoch" + "s" * (n != 1)') and re.search(suffix, "'es' if n > 1")


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n=", "'=", "''@", "\t5"])
def test_a_text_that_begins_like_a_formula_is_no_formula(begin):
    """And what reads our tables gets the text as it was."""
    text = begin + "cmd|' /C calc'!A0"
    assert as_cell(text) == f"'{text}"
    assert from_cell(as_cell(text)) == text


@pytest.mark.parametrize("text", ["", "a", "a=b", "-5", "+1e-3", "'", "'a", "5", " =1", "-inf"])
def test_other_texts_and_numbers_stay(text):
    assert as_cell(text) == from_cell(text) == text
    assert as_cell(-0.5) == -0.5 and as_cell(None) is None


def test_what_drives_a_terminal_is_shown():
    text = "a\tb\n\x1b[31mred\x07\r\x9b\u202e\udc80\u00fc\u4e2d"
    assert printable(text) == "a\tb\n\\x1b[31mred\\x07\\r\\x9b\\u202e\\udc80\u00fc\u4e2d"
