"""Write the loss curves of tests/golden anew: python benchmarks/make_golden.py [LOSS ...]; commit the difference."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "golden"))

from golden_curves import curve_as_text, golden_file, loss_curve, shipped_losses


def main(names):
    for name in names or sorted(shipped_losses()):
        with tempfile.TemporaryDirectory() as scratch:
            curve = loss_curve(name, Path(scratch) / "run")
        golden_file(name).write_text(curve_as_text(curve))
        print(f"{name}: {curve[0]:.4f} -> {curve[-1]:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
