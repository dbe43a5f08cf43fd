"""Images that were appended come after those of the source, and are not counted twice."""

from pathlib import Path

import numpy as np
import pytest
from program import paint

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources import SourceConfig, open_source


@pytest.fixture
def source(tmp_path: Path) -> SourceConfig:
    """Four pictures in two folders; appended are one of them, another one, and one that is gone."""
    paint(tmp_path / "photos", per_kind=2, kinds=2)
    paint(tmp_path / "new", per_kind=1, kinds=1)
    rows = {
        "kind0/001.png": tmp_path / "photos/kind0/001.png",
        "there": tmp_path / "new/kind0/000.png",
        "gone": tmp_path / "new/gone.png",
    }
    table = tmp_path / "appended.csv"
    table.write_text("path,id\n" + "".join(f"{path},{name}\n" for name, path in rows.items()))
    return SourceConfig(str(tmp_path / "photos"), appended=str(table), labels_from_folders=True)


def test_they_come_last_and_have_no_label(source: SourceConfig, tmp_path: Path) -> None:
    found = open_source(source)
    manifest = found.manifest
    assert manifest.id.tolist()[3:] == ["kind1/001.png", "there"]
    assert len(manifest) == 5
    np.testing.assert_array_equal(manifest.label, [0, 0, 1, 1, -1])
    assert manifest.skipped_path.tolist() == [str(tmp_path / "new/gone.png")]
    assert found.read(4) == (tmp_path / "new/kind0/000.png").read_bytes()  # type: ignore[union-attr]
    assert found.read(1) == (tmp_path / "photos/kind0/001.png").read_bytes()  # type: ignore[union-attr]


def test_a_limit_is_for_the_source(source: SourceConfig) -> None:
    limited = SourceConfig(source.path, appended=source.appended, limit=2)
    assert open_source(limited).manifest.id.tolist() == [
        "kind0/000.png",
        "kind1/000.png",
        "kind0/001.png",
        "there",
    ]


def test_nothing_follows_features(source: SourceConfig, tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.ones((3, 4), np.float32))
    with pytest.raises(UsageError, match="holds no image files"):
        open_source(SourceConfig(str(tmp_path / "features.npy"), appended=source.appended))
