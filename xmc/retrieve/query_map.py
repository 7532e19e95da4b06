"""The query map of an index folder: written only for a head that has one."""

from __future__ import annotations

from pathlib import Path

from xmc.api import QueryMap

FILE_NAME = "query_map.safetensors"


def save_query_map(folder: Path, query_map: QueryMap | None) -> None:
    """Write the map into an index folder that is not committed yet; nothing for None."""
    from safetensors.torch import save_file

    if query_map is not None:
        tensors = {"matrix": query_map.matrix_ED, "offset": query_map.offset_D}
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, folder / FILE_NAME)


def load_query_map(folder: Path) -> QueryMap | None:
    """The map of a verified index folder, None when it has none."""
    from safetensors.torch import load_file

    if not (folder / FILE_NAME).is_file():
        return None
    tensors = load_file(folder / FILE_NAME)
    return QueryMap(tensors["matrix"], tensors["offset"])
