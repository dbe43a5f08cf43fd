"""The content id of the first rows is that of an artifact that has no more."""

from dataclasses import replace
from pathlib import Path

from records import provenance, sample

from clusterpipe.cache import artifact
from clusterpipe.cache.prefixes import prefix_id
from clusterpipe.cache.schema import Embeddings, Refined


def test_it_is_that_of_a_shorter_artifact(tmp_path: Path) -> None:
    whole: Refined = sample(Refined, n=40, e=5)
    for name, rows in (("whole", 40), ("part", 25)):
        record = replace(whole, features=whole.features[:rows])
        artifact.write(tmp_path / name, record, provenance(schema=Refined.schema))
    for place in ("features", "loss", "@fitted_on"):
        expected = artifact.content_id(tmp_path / "part", Refined, place)
        assert prefix_id(tmp_path / "whole", Refined, place, 25) == expected
    assert prefix_id(tmp_path / "whole", Refined, "features", 24) != expected


def test_texts_and_numbers_too(tmp_path: Path) -> None:
    whole: Embeddings = sample(Embeddings, n=12, z=1)
    artifact.write(tmp_path / "whole", whole, provenance(schema=Embeddings.schema))
    assert prefix_id(tmp_path / "whole", Embeddings, "split", 7) == artifact.text_digest(
        whole.split[:7]  # type: ignore[index]
    )
    assert prefix_id(tmp_path / "whole", Embeddings, "size", 7) == artifact.content_digest(
        [whole.size[:7]], whole.size[:7]
    )
    assert prefix_id(tmp_path / "whole", Embeddings, "nowhere", 7) == artifact.ABSENT
