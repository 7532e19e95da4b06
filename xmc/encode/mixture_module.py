"""The mixture of experts as a sentence-transformers module, and how a folder that has one is opened.

sentence-transformers opens a module that is not its own only with `trust_remote_code=True`, which also runs code that
lies in the folder. xmc opens its folders module by module instead, and takes no module but known ones.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from sentence_transformers.sentence_transformer.modules import Normalize
from torch import Tensor, nn

from xmc.encode.mixture import MixtureOfExperts
from xmc.errors import ArtifactError

_Module: Any = Normalize.__mro__[1]  # its import path differs between major versions


class MixtureModule(_Module):
    """`sentence_embedding` -> the mixture's answer for it."""

    def __init__(self, layer: MixtureOfExperts) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        """Map `sentence_embedding`."""
        features["sentence_embedding"] = self.layer(features["sentence_embedding"])
        return features

    def get_embedding_dimension(self) -> int:
        """Width of an embedding."""
        return int(self.layer.gate.in_features)

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        """Write options and weights."""
        self.layer.save(Path(output_path))

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **_: Any) -> MixtureModule:
        """Read what `save` wrote, from a local folder."""
        return cls(MixtureOfExperts.load(Path(model_name_or_path) / subfolder))


def open_modules(folder: Path) -> list[nn.Module]:
    """The modules of a saved model one by one: those of sentence-transformers and the mixture.

    Raises: ArtifactError when the folder names any other.
    """
    own = f"{MixtureModule.__module__}.{MixtureModule.__qualname__}"
    modules: list[nn.Module] = []
    for entry in json.loads((folder / "modules.json").read_text(encoding="utf-8")):
        path, _, name = str(entry["type"]).rpartition(".")
        if entry["type"] == own:
            modules.append(MixtureModule.load(str(folder), entry["path"]))
        elif path.startswith("sentence_transformers."):
            kind = getattr(importlib.import_module(path), name)
            modules.append(kind.load(str(folder), subfolder=entry["path"], local_files_only=True))
        else:
            raise ArtifactError(
                f"{folder} holds a module '{entry['type']}', which is neither of sentence-transformers nor '{own}'."
            )
    return modules
