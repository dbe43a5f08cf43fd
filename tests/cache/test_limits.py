import pytest

from clusterpipe.cache import signatures
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import USUAL, Limits, may_succeed, stalled, wanting
from clusterpipe.cache.sources import SourceConfig


def reasons(limits: Limits) -> list[str]:
    with pytest.raises(UnreadableImage) as pixels:
        limits.refuse_size((limits.pixels + 1, 1))
    with pytest.raises(UnreadableImage) as size:
        limits.refuse_bytes(limits.bytes + 1)
    return [str(pixels.value), str(size.value)]


def test_what_a_limit_refused_is_tried_again_when_the_limit_is_raised() -> None:
    for why in reasons(Limits(pixels=1000)):
        assert not may_succeed(why, Limits(pixels=1000))
        assert may_succeed(why, Limits(pixels=1001))
    slow = str(Limits(seconds=3).too_long())
    assert not may_succeed(slow, Limits(seconds=3))
    assert may_succeed(slow, Limits(seconds=4))


def test_a_limit_itself_is_within_it() -> None:
    limits = Limits(pixels=1_000)
    limits.refuse_size((10, 100))
    limits.refuse_bytes(8_000)
    with pytest.raises(UnreadableImage, match=r"1 x 1,001 = 1,001, more than the 1,000 that"):
        limits.refuse_size((1, 1_001))
    with pytest.raises(UnreadableImage, match=r"8,001 bytes, more than the 8,000 \(8 for each"):
        limits.refuse_bytes(8_001)


def test_scans_are_counted_and_weighed_by_their_pixels() -> None:
    limits = Limits(pixels=1_000)
    limits.refuse_scans(1_000, (4, 5))
    limits.refuse_scans(200, (10, 10))  # 20 times the pixels that are allowed
    for scans, size in ((1_001, (1, 1)), (201, (10, 10)), (200, (10, 11))):
        with pytest.raises(UnreadableImage, match=f"too costly: {scans:,} scans of 10|1,001"):
            limits.refuse_scans(scans, size)


def test_the_usual_limits_are_those_of_the_settings() -> None:
    assert (USUAL.pixels, USUAL.seconds) == (250_000_000, 30)
    assert USUAL.bytes == 2_000_000_000
    defaults = SourceConfig()
    assert (defaults.max_pixels, defaults.max_seconds) == (USUAL.pixels, USUAL.seconds)


def test_a_reason_that_names_no_figure_is_not_tried_again() -> None:
    assert not may_succeed("more than source.max_pixels allows", Limits())
    assert not may_succeed("more than source.max_seconds allows", Limits())


def test_what_wanted_a_decoder_is_tried_again_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    why = str(wanting(signatures.HEIC))
    monkeypatch.setattr(signatures, "find_spec", lambda name: None)
    assert not may_succeed(why, Limits())
    monkeypatch.setattr(signatures, "find_spec", lambda name: name == "pillow_heif")
    assert may_succeed(why, Limits())


def test_a_read_that_stalled_is_tried_again_and_damage_is_not() -> None:
    assert may_succeed(stalled(30), Limits())
    assert not may_succeed("truncated", Limits())
