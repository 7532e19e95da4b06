"""Write the pictures of docs/playground.md: python docs/make_screenshot.py --run NAME=FOLDER --run NAME=FOLDER.

The first run should be calibrated; both should be of icd10cm. Needs Chromium and the test tools.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "xmc" / "serve"))
from chromium import Chromium, find_chromium  # noqa: E402
from serve_cases import served  # noqa: E402

IMAGES = ROOT / "docs" / "images"
QUERY = "kidney damage from type 2 diabetes"
COLORS = 128


def shoot(page: Chromium, address: str, name: str, state: dict[str, str], *, size: tuple[int, int]) -> None:
    """One picture of the page in a state, in as few colours as look the same."""
    page.size(*size)
    for _ in range(2):  # the first search of a run takes longer than those that follow
        page.open(address, state)
        page.wait("document.querySelectorAll('.hit, .nothing').length")
    page.run("document.activeElement.blur()")
    path = IMAGES / f"{name}.png"
    page.screenshot(path)
    Image.open(path).convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Three pictures: one run by day, two runs by night, a phone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="append", required=True, help="NAME=FOLDER; twice")
    runs = parser.parse_args().run
    words = [word for run in runs for word in ("--run", run)]
    IMAGES.mkdir(exist_ok=True)
    second = runs[1].partition("=")[0]
    folder = tempfile.TemporaryDirectory()
    with folder, served(*words) as service, Chromium(find_chromium(), Path(folder.name)) as page:
        address = service.address
        shoot(page, address, "playground", {"q": QUERY}, size=(1000, 860))
        page.prefer(color_scheme="dark")
        shoot(page, address, "playground-compare", {"q": "asthma attack", "with": second, "k": "5"}, size=(1200, 900))
        shoot(page, address, "playground-phone", {"q": QUERY, "p": "0.02"}, size=(360, 740))


if __name__ == "__main__":
    main()
