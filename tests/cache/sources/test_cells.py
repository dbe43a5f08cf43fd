from hypothesis import given, settings
from hypothesis import strategies as st

from clusterpipe.cache.sources.cells import harmless, text_of

TEXTS = st.text(st.sampled_from("'=+-@a1\t\r ")) | st.text()


@settings(max_examples=40)
@given(TEXTS)
def test_what_is_made_harmless_is_no_formula_and_is_read_back(text: str) -> None:
    assert not harmless(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert text_of(harmless(text)) == text
    assert harmless(text) == text or text.lstrip("'").startswith(("=", "+", "-", "@", "\t", "\r"))
