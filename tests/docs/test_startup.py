"""Invariants: `import xmc`, `xmc --help` and `xmc plugins` load no heavy library, and few modules in all."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "faiss",
    "pyarrow",
    "sentence_transformers",
    "transformers",
    "sklearn",
    "scipy",
    "matplotlib",
    "datasets",
}
MODULES = {"import xmc": 140, "import xmc.api": 220, "xmc --help": 480, "xmc plugins": 480, "xmc plugins --json": 480}
START = """
import sys
from xmc.cli.main import main
sys.argv = ["xmc", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
PROGRAMS = {
    "import xmc": "import xmc",
    "import xmc.api": "import xmc.api",
    "xmc --help": START.format(arguments=["--help"]),
    "xmc plugins": START.format(arguments=["plugins"]),
    "xmc plugins --json": START.format(arguments=["plugins", "--json"]),
}
REPORT = """
import json, sys
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def loaded(program):
    """The modules that a fresh interpreter has loaded at the end."""
    command = [sys.executable, "-c", PROGRAMS[program] + "\n" + REPORT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_start_is_light(program):
    """Counted in modules, for seconds depend on the machine and on what else it does."""
    modules = loaded(program)
    assert not {name.partition(".")[0] for name in modules} & HEAVY
    assert len(modules) < MODULES[program]
