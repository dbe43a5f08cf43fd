import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterpipe.cache.names import file_words, safe_name, shortened

WHOLE = [
    "हिन्दी",
    "ไทยสวัสดี",
    "தமிழ்",
    "বাংলা",
    "tiếng-việt",
    "می\u200cخواهم",
    "日本語",
    "עִבְרִית",
    "አማርኛ",
]


@pytest.mark.parametrize("word", WHOLE)
def test_words_of_any_script_stay_whole(word: str) -> None:
    assert file_words(f"  {word}!") == unicodedata.normalize("NFC", word)
    assert safe_name(f"/{word}?") == unicodedata.normalize("NFC", word)


def test_what_is_no_word_becomes_a_joint() -> None:
    assert file_words("Red  bicycle (old)/new_1") == "red-bicycle-old-new-1"
    assert safe_name("a b/c:d_e.f-g") == "a_b_c_d_e.f-g"
    assert safe_name("..") == safe_name("?!") == "images"
    assert file_words("\u202egnp.exe\x1b[1m") == "gnp-exe-1m"


def test_a_letter_keeps_its_marks_or_goes() -> None:
    text = "กี้" * 30
    found = file_words(text)
    assert text.startswith(found)
    assert len(found) <= 40
    assert unicodedata.category(text[len(found)]) not in ("Mn", "Mc")


@given(st.text(), st.integers(0, 255))
def test_short_names_stay_and_long_ones_fit(name: str, count: int) -> None:
    name = name.encode("utf-8", "replace").decode()
    found = shortened(name, count)
    assert name.startswith(found)
    assert len(os.fsencode(found)) <= count
    assert found == name or len(os.fsencode(name)) > count


@given(st.text())
def test_every_text_makes_a_name_that_a_folder_can_have(text: str) -> None:
    for name in (safe_name(text), f"000_{file_words(text)}.png"):
        assert 0 < len(os.fsencode(name)) <= 255
        assert not {"/", "\0"} & set(name)
