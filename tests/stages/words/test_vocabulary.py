"""Where words come from, and which files are refused."""

from pathlib import Path

import numpy as np
import pytest

from clusterpipe.cache.errors import UsageError
from clusterpipe.stages.words.vocabulary import has_features, imagenet, open_vocabulary, read_words


@pytest.mark.parametrize(("subset", "count"), [("imagenet-1k", 1000), ("imagenet-21k", 21_843)])
def test_imagenet_comes_with_synonyms_and_definitions(subset: str, count: int) -> None:
    found = open_vocabulary(subset)
    assert len(found.word) == len(found.synonyms) == len(found.definition) == count
    assert all(found.definition)
    shark = found.word.index("great white shark")
    assert found.synonyms[shark][1:3] == ("white shark", "man-eater")
    assert found.definition[shark].startswith("large aggressive shark")


def test_a_text_file_holds_a_word_per_line(tmp_path: Path) -> None:
    file = tmp_path / "w.txt"
    file.write_text("\ufeffsea lion\n\n  crane, bird \nsea lion\n", encoding="utf-8")
    found = open_vocabulary(str(file))
    assert found.word == ("sea lion", "crane, bird")
    assert found.synonyms == ((), ())
    assert found.features is None


def test_a_table_may_define_its_words(tmp_path: Path) -> None:
    file = tmp_path / "w.csv"
    file.write_text('Word,meaning\n"crane, bird",long legs\nsea lion\n', encoding="utf-8")
    found = read_words(file)
    assert found.word == ("crane, bird", "sea lion")
    assert found.definition == ("long legs", "")
    file.write_text("crane,long legs\nsea lion,a seal\n", encoding="utf-8")
    assert read_words(file).word == ("crane", "sea lion")


def test_a_file_of_text_features_brings_them_along(tmp_path: Path) -> None:
    file = tmp_path / "w.npz"
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float16)
    np.savez(file, features=rows, names=["a", "b b", "c_c"])
    found = open_vocabulary(str(file))
    assert found.word == ("a", "b b", "c_c")
    np.testing.assert_array_equal(found.features, rows)
    assert has_features(str(file))
    assert not has_features("words.txt")
    assert not has_features("imagenet-1k")


def test_class_names_stand_only_when_there_are_some() -> None:
    assert open_vocabulary("classes", classes=np.array(["b", "a"], object)).word == ("b", "a")
    for nothing in (None, np.array([], object)):
        with pytest.raises(UsageError, match="names no classes"):
            open_vocabulary("classes", classes=nothing)


def test_the_digest_is_that_of_the_words_in_order(tmp_path: Path) -> None:
    found = imagenet("imagenet-1k")
    file = tmp_path / "w.txt"
    file.write_text("\n".join(found.word))
    assert read_words(file).digest() == found.digest()
    file.write_text("\n".join(reversed(found.word)))
    assert read_words(file).digest() != found.digest()


def test_repeats_go_and_cells_may_hold_anything(tmp_path: Path) -> None:
    file = tmp_path / "w.tsv"
    file.write_text('Sea_Lion\ta seal\n"two\nlines"\t{x}\nsea lion\tagain\n\u9c7c [b]\n', "utf-8")
    found = read_words(file)
    assert found.word == ("Sea_Lion", "two lines", "\u9c7c [b]")
    assert found.definition == ("a seal", "{x}", "")
    file.with_suffix(".csv").write_text('"crane\n')
    with pytest.raises(UsageError, match=r"w\.csv, line 1"):
        read_words(file.with_suffix(".csv"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b" \n", "no words"), (b"\xff\xfe\x00", "UTF-8"), (b"a\x00b\x00", "zero bytes")],
)
def test_an_unusable_list_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "w.txt"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=reason):
        read_words(file)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"Did you mean imagenet-"):
        open_vocabulary("imagenet-2k")
