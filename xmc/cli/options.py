"""The command-line options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RunOption = Annotated[Path, typer.Option("--run", help="Folder of a trained run.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Change one setting; may be repeated.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
PluginOption = Annotated[
    str, typer.Option("--plugin", help="Recipe that is the base configuration; auto: the one that suits the data.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="TOML file over the recipe.")]
DataOption = Annotated[str, typer.Option("--data", help="Shipped data set (icd10cm, tiny) or a folder.")]
ProbabilityOption = Annotated[
    float | None, typer.Option("--min-probability", help="Leave out hits less likely relevant; see: xmc check.")
]
AllowedOption = Annotated[
    Path | None, typer.Option("--allowed", help="Only the label ids of this file: lines, CSV, JSON lines or Parquet.")
]
