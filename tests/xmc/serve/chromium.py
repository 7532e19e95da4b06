"""A headless Chromium spoken to by its DevTools protocol: enough to type, press keys, look and listen for errors."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

from websockets.sync.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-proxy-server", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-sync", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--hide-scrollbars",
)  # fmt: skip
KEYS = {"Enter": 13, "Tab": 9, "Escape": 27, "Home": 36, "End": 35} | {
    f"Arrow{side}": code for side, code in (("Left", 37), ("Up", 38), ("Right", 39), ("Down", 40))
}


def find_chromium() -> str:
    """The path of a Chromium, or ""."""
    return next(filter(None, map(shutil.which, NAMES)), "")


class Chromium:
    """One browser with one page; `with Chromium(path, folder) as page`. `problems` are its errors in the console."""

    def __init__(self, program: str, folder: Path) -> None:
        self._stack = ExitStack()
        flags = [*FLAGS, "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}"]
        self._process = subprocess.Popen(
            [program, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._port_file = folder / "profile" / "DevToolsActivePort"
        self._count = 0
        self.problems: list[str] = []

    def __enter__(self) -> "Chromium":
        until(lambda: self._port_file.is_file() and self._port_file.read_text().count("\n"), seconds=30)
        port, path = self._port_file.read_text().split()
        connection = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None)
        self._socket = self._stack.enter_context(connection)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *error) -> None:
        self._session = None
        self.call("Browser.close")
        self._stack.close()
        self._process.wait(20)

    def call(self, method: str, **parameters):
        """What a command of the protocol answers; events that come before it are listened to."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while (answer := json.loads(self._socket.recv(timeout=30))).get("id") != self._count:
            self._listen(answer.get("method"), answer.get("params"))
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def _listen(self, method, parameters) -> None:
        if method == "Runtime.exceptionThrown":
            self.problems.append(f"exception: {parameters['exceptionDetails']}")
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(f"console: {parameters['args']}")
        elif method == "Log.entryAdded":
            entry = parameters["entry"]
            self.problems.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")

    def open(self, address: str, state: Mapping[str, str] | None = None) -> None:
        """Load the page at an address anew, with this state in its fragment."""
        fragment = f"#{urlencode(state)}" if state else ""
        self.call("Page.navigate", url=f"{address}/?{self._count}{fragment}")  # else only the fragment would change
        self.wait("document.readyState === 'complete'")

    def run(self, script: str):
        """The value of an expression, awaited."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str, *, seconds: float = 15):
        """The value of an expression as soon as it is true."""
        return until(lambda: self.run(script), what=script, seconds=seconds)

    def type(self, text: str) -> None:
        """Type characters one after the other."""
        for character in text:
            self.call("Input.dispatchKeyEvent", type="char", text=character)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key."""
        code = KEYS.get(key, 191)
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        """Make the window so large."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def prefer(self, **features: str) -> None:
        """Set what the user prefers: `prefer(color_scheme="dark")`."""
        named = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=named)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


def until(look, *, what: str = "", seconds: float = 15):
    """What `look()` answers as soon as that is true; fails after so many seconds."""
    end_s = time.monotonic() + seconds
    while not (value := look()):
        assert time.monotonic() < end_s, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return value
