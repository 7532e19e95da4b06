from pathlib import Path

import pytest
from wheel_builder import ROOT, build_wheel


@pytest.fixture(scope="session")
def engine_wheel(tmp_path_factory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("wheels"))
