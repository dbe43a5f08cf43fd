import pytest

from clusterpipe.cache import signatures
from clusterpipe.cache.errors import UnreadableImage
from clusterpipe.cache.limits import Limits, may_succeed, stalled, wanting


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
