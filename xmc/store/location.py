"""Where a file or folder is: a path of this machine, or a URL of a store such as `s3://bucket/folder?region=…`.

A URL may carry options of the store (`endpoint_override`, `region`, `scheme`, …) after a question mark, and a key
before an `@`; whatever is shown or stored leaves both out.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from xmc.errors import ArtifactError, ConfigError, XmcError
from xmc.utf8 import require_utf8


@dataclass(frozen=True)
class Location:
    """A place in a file system: `root` is the URL of the system (empty for this machine's), `path` the path in it.

    >>> Location.of("s3://bucket/in/part.parquet?region=eu-west-1").child("x").shown
    's3://bucket/in/part.parquet/x'
    >>> Location.of("file:///data/a%20b").local
    PosixPath('/data/a b')
    """

    root: str
    path: str

    @classmethod
    def of(cls, text: str | Path) -> Location:
        """The location that a path or URL names.

        Raises: ConfigError for a `file://` URL of another host or with options, for a key that would break the URL
        apart, and for a name that is not UTF-8.
        """
        scheme, separator, rest = str(text).partition("://")
        if not separator or not scheme.replace("+", "").isalnum():
            path = os.path.abspath(text)  # noqa: PTH100 - Path.absolute keeps `..`
            require_utf8(path)
            return cls("", path)
        require_utf8(text)
        if scheme == "file":
            parts = urlsplit(str(text))
            if parts.netloc not in ("", "localhost"):
                raise ConfigError(f"{text}: a file URL names no host.", hint="Write file:///folder/file, or a path.")
            if "?" in rest or "#" in rest:  # which end the path of a URL
                raise ConfigError(f"{text}: a file URL has no '?' or '#'.", hint="Write %3F or %23, or a path.")
            return cls("", unquote(parts.path))
        place, _, query = rest.partition("?")
        host, slash, path = place.partition("/")
        if "@" not in host and "@" in rest and ":" in host and not host.rpartition(":")[2].isdecimal():
            raise ConfigError(
                f"the key in this {scheme}:// URL holds a '/' or '?'.",
                hint="Write %2F and %3F for these, or give the key by the environment or a profile.",
            )
        return cls(f"{scheme}://{host}" + (f"?{query}" if query else ""), slash + path.rstrip("/"))

    @property
    def local(self) -> Path | None:
        """The path when it is one of this machine."""
        return None if self.root else Path(self.path)

    @property
    def shown(self) -> str:
        """What people and files get to see: without key and options of the store."""
        return shown_root(self.root) + self.path

    @property
    def real(self) -> Location:
        """Where it lies when links of this machine are followed; of a store the same."""
        return self if self.root else Location("", os.path.realpath(self.path))

    def child(self, name: str) -> Location:
        """Something in this folder."""
        return Location(self.root, f"{self.path.rstrip('/')}/{name}")

    def opened(self) -> tuple[Any, str]:
        """The pyarrow file system and the path in it.

        Raises: ConfigError when no library that is installed knows such URLs.
        """
        system, start = open_system(self.root)
        return system, start + self.path if start else self.path.lstrip("/") if self.root else self.path

    def size(self) -> int | None:
        """Bytes of the file, None when there is none. Raises: ArtifactError when the store cannot be asked."""
        from pyarrow.fs import FileType

        with store_errors(self):
            system, path = self.opened()
            info = system.get_file_info(path)
        return int(info.size) if info.type == FileType.File else None

    def read_bytes(self) -> bytes | None:
        """The content of the file, None when there is none. Raises: ArtifactError when the store refuses."""
        try:
            with store_errors(self):
                system, path = self.opened()
                with system.open_input_stream(path) as file:
                    return bytes(file.read())
        except FileNotFoundError:
            return None


def shown_root(root: str) -> str:
    """A `Location.root` without key and options.

    >>> shown_root("s3://someone:secret@bucket?region=eu-west-1")
    's3://bucket'
    """
    scheme, separator, rest = root.partition("?")[0].partition("://")
    return scheme + separator + rest.rpartition("@")[2]


@functools.lru_cache(maxsize=64)
def open_system(root: str) -> tuple[Any, str]:
    """The pyarrow file system of a `Location.root` and the path at which it starts (the bucket of an object store).

    What pyarrow does not know itself is opened by fsspec where that is installed.
    Raises: ConfigError for an unknown kind of URL or a wrong option.
    """
    import pyarrow as pa
    from pyarrow import fs

    if not root:
        return fs.LocalFileSystem(), ""
    scheme = root.partition("://")[0]
    system: Any
    try:
        system, start = fs.FileSystem.from_uri(root)
        return system, str(start).rstrip("/")
    except pa.ArrowInvalid as error:
        if "unrecognized filesystem type" not in str(error).lower():
            said = "it cannot be read; a key must be percent-encoded" if "@" in root else str(error)  # which repeats it
            raise ConfigError(f"{shown_root(root)}: {said}.") from None
    try:
        from fsspec.core import url_to_fs

        from xmc.store.fsspec_times import TimedHandler

        url, _, query = root.partition("?")
        system, start = url_to_fs(url, **dict(parse_qsl(query)))
        return fs.PyFileSystem(TimedHandler(system)), start.rstrip("/")
    except TypeError as error:  # which names the option
        raise ConfigError(f"{shown_root(root)}: the options after the ? cannot be: {error}.") from None
    except (ImportError, ValueError) as error:
        said = "" if "@" in root else f": {error}"  # which may repeat a key
        raise ConfigError(
            f"no file system for '{scheme}://' URLs is installed{said}.",
            hint="pyarrow knows s3, gs, abfs and hdfs; for others install fsspec and the library of the store.",
        ) from None


@contextlib.contextmanager
def store_errors(location: Location) -> Iterator[None]:
    """Let what a store refuses be an ArtifactError that names the location; of this machine's files, an OSError stays.

    A missing file stays a FileNotFoundError, but a missing bucket is refused.
    """
    try:
        yield
    except XmcError:
        raise
    except FileNotFoundError as error:
        if not location.root or "no_such_bucket" not in str(error).lower():
            raise
        raise _refused(location, error) from error
    except OSError as error:
        if not location.root:
            raise
        raise _refused(location, error) from error


def _refused(location: Location, error: OSError) -> ArtifactError:
    reason = " ".join(str(error).split())[:300].rstrip(".")
    return ArtifactError(
        f"{location.shown}: the store refuses: {reason}.",
        hint="Is the bucket there, are the credentials right (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
        "s3://KEY:SECRET@bucket), and the region or endpoint_override?",
    )
