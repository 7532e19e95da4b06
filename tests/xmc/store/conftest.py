"""Here files are really forced to the disk (see `repetitions.spare_the_disk`)."""

import os
import posix

import pytest


@pytest.fixture(autouse=True)
def _wait_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", posix.fsync)
