"""The file of an encoder's folder that says which encoder wrote it and where its parts lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xmc.errors import ArtifactError

DESCRIPTION_NAME = "xmc_encoder.json"


def read_description(folder: Path, encoder: str) -> dict[str, Any]:
    """What the encoder of this name wrote into its folder. Raises: ArtifactError when another one wrote it."""
    description: dict[str, Any] = json.loads((folder / DESCRIPTION_NAME).read_text(encoding="utf-8"))
    if description.get("encoder") != encoder:
        raise ArtifactError(f"{folder} holds the encoder '{description.get('encoder')}', expected '{encoder}'.")
    return description
