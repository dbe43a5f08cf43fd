"""Heads that train a network, again and again, take their time: their tests are slow."""

from pathlib import Path

import pytest

TRAINING = ("by_words", "consensus", "protocol", "scp", "self_label", "turtle")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    slow = [Path(__file__).with_name(f"test_{name}.py") for name in TRAINING]
    for item in items:
        if item.path in slow:
            item.add_marker(pytest.mark.slow)
