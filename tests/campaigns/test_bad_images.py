"""The short version of the campaign: every fifth of its files."""

import sys
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import bad_images


@pytest.mark.filterwarnings("ignore")
def test_a_fifth_of_the_bad_images_become_an_image_or_a_reason() -> None:
    outcomes = [bad_images.judged(file) for file in islice(bad_images.all_files(7), 0, None, 5)]
    assert len(outcomes) > 40
    assert [outcome for outcome in outcomes if outcome.fault] == []


def test_the_campaign_has_150_kinds_and_more() -> None:
    assert len({file.kind for file in bad_images.all_files(0)}) >= 150
