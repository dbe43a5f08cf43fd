"""Every error clusterpipe raises on purpose, and the exit code each one becomes.

    ClusterpipeError              1  anything unexpected
    ├── UsageError                2  a wrong option, setting or argument
    ├── SourceError               3  no usable images, or too many bad ones
    ├── MissingArtifact           4  an upstream stage has not run yet
    ├── DamagedArtifact           5  an artifact is damaged, foreign or of another schema
    ├── WeightsMissing            6  weights are not on disk and no download was allowed
    ├── RunLocked                 7  another run holds the run directory
    ├── StorageError              8  no space left, or not writable
    └── Interrupted             130  Ctrl-C (or 143: terminated), after a clean checkpoint

`UnreadableImage` stands apart: it never ends a run, it becomes a row of `/skipped`.
"""


class ClusterpipeError(Exception):
    """Base of all deliberate errors. The message names the file and the command that helps."""

    exit_code = 1


class UsageError(ClusterpipeError):
    """A wrong option, setting or argument; the message names the nearest valid one."""

    exit_code = 2


class SourceError(ClusterpipeError):
    """The source holds no usable image, or more bad ones than `--max-bad` allows."""

    exit_code = 3


class MissingArtifact(ClusterpipeError):
    """A stage needs an artifact that is not there yet; the message names the command."""

    exit_code = 4


class DamagedArtifact(ClusterpipeError):
    """An artifact cannot be read, is not ours, or does not fit its schema."""

    exit_code = 5


class WeightsMissing(ClusterpipeError):
    """Backbone weights are not on disk and `--download` was not given."""

    exit_code = 6


class RunLocked(ClusterpipeError):
    """Another process is writing to the same run directory."""

    exit_code = 7


class StorageError(ClusterpipeError):
    """The disk is full or the run directory cannot be written."""

    exit_code = 8


class Interrupted(ClusterpipeError):
    """The user or the system asked the run to stop; everything finished so far is kept."""

    exit_code = 130

    def __init__(self, message: str, *, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class UnreadableImage(Exception):
    """One image cannot be decoded; `str(error)` is the reason recorded in `/skipped`."""
