"""Images that were added to a run: they come after those of its source."""

from dataclasses import replace

import numpy as np

from clusterpipe.cache.errors import UsageError
from clusterpipe.cache.sources.files import FileImages
from clusterpipe.cache.sources.manifest import UNKNOWN, Manifest, strings
from clusterpipe.cache.sources.protocols import FeatureSource, ImageSource
from clusterpipe.cache.sources.subset import ImageSubset


def with_appended(source: ImageSource | FeatureSource, appended: Manifest) -> FileImages:
    """The images of `source` and, after them, those of `appended`, at absolute paths.

    What the source holds itself, by its id, is not taken twice. Appended images have no ground
    truth. Raises `UsageError` for a source that is not one of files.
    """
    files = source.source if isinstance(source, ImageSubset) else source
    if not isinstance(files, FileImages):
        raise UsageError(
            f"{source.name} holds no image files, so that none can be appended: put the new images "
            "into the source, and run clusterpipe run-all"
        )
    held = {*source.manifest.id, *source.manifest.skipped_path}
    more = appended.take(np.flatnonzero([name not in held for name in appended.id]))
    gone = [path not in held for path in more.skipped_path]
    more = replace(
        more,
        skipped_path=strings(more.skipped_path[gone]),
        skipped_reason=strings(more.skipped_reason[gone]),
    )
    joined = _joined(source.manifest, more)
    return FileImages(source.name, files.root, joined, files.limits, files.readers)


def _joined(first: Manifest, second: Manifest) -> Manifest:
    columns = ("id", "path", "size", "mtime", "skipped_path", "skipped_reason")
    m = len(second)
    return Manifest(
        **{name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in columns},
        label=None
        if first.label is None
        else np.concatenate([first.label, np.full(m, UNKNOWN, np.int32)]),
        class_name=first.class_name,
        other_path=first.other_path,
        other_reason=first.other_reason,
        remarks=first.remarks,
        stamp=None
        if first.stamp is None or second.stamp is None
        else np.concatenate([first.stamp, second.stamp]),
        split=None if first.split is None else np.concatenate([first.split, strings([""] * m)]),
    )
