import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from clusterpipe.pipeline.results.lettering import drawable, font


def drawn(text: str) -> bytes:
    image = Image.new("L", (900, 40), 255)
    ImageDraw.Draw(image).text((4, 4), drawable(text), 0, font(18))
    return image.tobytes()


@pytest.mark.parametrize("text", ["red bicycle", "Москва", "Αθήνα", "naïve · 3,000 images", "Հայ"])
def test_what_the_font_has_is_drawn_as_it_is(text: str) -> None:
    assert drawable(text) == text


@pytest.mark.skipif(not features.check("raqm"), reason="letters that join need raqm")
def test_arabic_and_hebrew_are_drawn() -> None:
    assert drawable("قطة") == "قطة"
    assert drawable("חתול") == "חתול"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("猫", "犬"),
        ("हम", "नल"),
        ("狮子", "虱子"),
        ("แมว", "หมา"),
        ("🐶", "🐱"),
        ("고양이", "개"),
        ("தமிழ்", "తెలుగు"),
    ],
)
def test_others_are_spelled_so_that_they_differ_and_it_is_said(first: str, second: str) -> None:
    assert "transliterated: U+" in drawable(first)
    assert drawn(first) != drawn(second)


def test_only_the_words_that_need_it_are_spelled() -> None:
    assert drawable("cluster 0 · 猫") == "cluster 0 · Mao (transliterated: U+732B)"


def test_a_title_is_one_line_whatever_stands_in_it() -> None:
    assert drawable("a\nb\u202ec\x1b") == r"a\nb\u202ec\x1b"
    blank = np.frombuffer(drawn(""), np.uint8)
    assert (blank == 255).all()
