"""Invariants: what the file of plugins is instead of a file counts as none, and nobody waits for it."""

import os
import threading

from xmc.plugin_manager import load_plugins
from xmc.retrieve.run_plugins import PLUGINS_FILE, require_run_plugins


def test_a_pipe_in_place_of_the_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / PLUGINS_FILE)
    reading = threading.Thread(target=require_run_plugins, args=(tmp_path, load_plugins()), daemon=True)
    reading.start()
    reading.join(5)
    assert not reading.is_alive()
