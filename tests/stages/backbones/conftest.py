"""An empty weights cache, no network, and a few pictures."""

import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


class SocketOpened(BaseException):
    """Not an Exception, so that no library can swallow it."""


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise SocketOpened

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty Hugging Face cache."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return folder


@pytest.fixture
def pictures() -> list[Image.Image]:
    """Three RGB images of different sizes."""
    pixels = np.random.default_rng(0)
    return [
        Image.fromarray(pixels.integers(0, 256, (height, width, 3), np.uint8))
        for height, width in ((40, 60), (64, 64), (90, 33))
    ]
