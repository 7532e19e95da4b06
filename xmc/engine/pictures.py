"""Pictures of reports as files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from xmc.store import write_bytes


def write_picture(folder: Path, name: str, picture: Any) -> None:
    """Write a matplotlib figure as `name`.png and `name`.svg, without the date, so that equal figures are equal."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    png, svg = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(picture).print_png(png)
    picture.set_layout_engine("none")  # to find places for everything takes as long as to draw it: once is enough
    FigureCanvasSVG(picture).print_svg(svg, metadata={"Date": None})
    write_bytes(folder / f"{name}.png", png.getvalue())
    write_bytes(folder / f"{name}.svg", svg.getvalue())
