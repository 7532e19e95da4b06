"""The one writer: nothing else in xmc opens a final path for writing, and nothing is parsed before it is verified."""

from xmc.store.atomic import (
    atomic_writer,
    remove_temporaries,
    sha256_of,
    write_bytes,
    write_json,
    write_text,
)
from xmc.store.lock import locked
from xmc.store.manifest import Manifest, build_manifest, verify_folder
from xmc.store.new_folder import new_folder, replaced_folder, require_folders_above, require_new
from xmc.store.versions import VersionedFolder

__all__ = [
    "Manifest",
    "VersionedFolder",
    "atomic_writer",
    "build_manifest",
    "locked",
    "new_folder",
    "remove_temporaries",
    "replaced_folder",
    "require_folders_above",
    "require_new",
    "sha256_of",
    "verify_folder",
    "write_bytes",
    "write_json",
    "write_text",
]
