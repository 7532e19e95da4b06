"""What is said where the disk refuses a file beside something that is committed already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xmc.errors import ArtifactError, quoted

REST = {"index": "the new index", "rerank": "the new second stage"}


@contextmanager
def beside_committed(run: Path, verb: str) -> Iterator[None]:
    """Write a file that tells of what the verb committed; what the disk refuses is told with what stays and what to do.

    Raises: ArtifactError.

    >>> with beside_committed(Path("runs/a"), "index"):
    ...     raise OSError(28, "could not write: No space left on device", "runs/a/config.toml")
    Traceback (most recent call last):
    xmc.errors.ArtifactError: the new index of runs/a is committed and in use, but the file that tells of it could not \
be brought up to date: runs/a/config.toml: could not write: No space left on device. When that is mended, with the \
same options again: xmc index --run runs/a
    """
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"{REST[verb]} of {run} is committed and in use, but the file that tells of it could not be brought up to "
            f"date: {error.filename}: {error.strerror}.",
            hint=f"When that is mended, with the same options again: xmc {verb} --run {quoted(run)}",
        ) from error
