"""A headless chromium, driven over its DevTools pipe: real key presses and clicks, no further package.

Protocol: https://chromedevtools.github.io/devtools-protocol; messages are JSON, each ended by a zero byte.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe")
FLAT = ("--disable-gpu",)
WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""WebGL in software: it needs no graphics card."""
PATIENCE = 60.0  # s
KEYS = {"ArrowLeft": 37, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Tab": 9, "Enter": 13}


def executable():
    """Path of the browser; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browsing(width=1440, height=900, graphics=FLAT):
    """One page of one browser, which ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()
        command = [executable(), *FLAGS, *graphics, f"--user-data-dir={profile}", f"--window-size={width},{height}",
                   "about:blank"]
        # chromium reads commands from descriptor 3 and answers on 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{to_read} 4>&{from_write}', "bash", *command]
        process = subprocess.Popen(shell, pass_fds=(to_read, from_write), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(from_write)
        try:
            yield Page(to_write, from_read)
        finally:
            process.terminate()
            process.wait(PATIENCE)
            os.close(to_write)
            os.close(from_read)


class Page:
    """Actions of a user on a page, and the errors of the page."""

    def __init__(self, to, come):
        self._to, self._come, self._buffer = to, come, b""
        self._numbers, self._session = itertools.count(1), None
        self.complaints, self.requests = [], []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **parameters):
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._hear(answer)

    def _receive(self):
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._come], [], [], PATIENCE)
            assert ready, "the browser does not answer"
            part = os.read(self._come, 1 << 16)
            assert part, "the browser has gone"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _hear(self, event):
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(parameters["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(parameters)
        elif method == "Log.entryAdded":
            self.complaints.append(parameters["entry"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"][:100])

    def open(self, path: Path):
        self.visit(path.absolute().as_uri())

    def visit(self, url):
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def run(self, expression):
        """The value of a JavaScript expression."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition):
        """Until a JavaScript expression is true."""
        until = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < until, f"never came true: {condition}"
            time.sleep(0.02)

    def press(self, key):
        code = KEYS.get(key)
        text = {} if code else {"text": key}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key,
                      windowsVirtualKeyCode=code or ord(key.upper()), **(text if kind == "keyDown" else {}))

    def click(self, selector, x=0.5, y=0.5, to=None):
        """Press the mouse at a share of an element's box, and move to another share before letting go."""
        self.run(f"document.querySelector({selector!r}).scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.run(f"(b => [b.left, b.top, b.width, b.height])(document.querySelector({selector!r})"
                       ".getBoundingClientRect())")
        start, end = ((box[0] + box[2] * a, box[1] + box[3] * b) for a, b in ((x, y), to or (x, y)))
        mouse = {"button": "left", "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type="mouseMoved", x=start[0], y=start[1])
        self.send("Input.dispatchMouseEvent", type="mousePressed", x=start[0], y=start[1], **mouse)
        if to:
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=end[0], y=end[1], button="left", buttons=1)
        self.send("Input.dispatchMouseEvent", type="mouseReleased", x=end[0], y=end[1], **mouse)

    def emulate(self, media="screen", scheme="light", width=1440, height=900):
        self.send("Emulation.setEmulatedMedia", media=media,
                  features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path, whole=False):
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self, path: Path):
        found = self.send("Page.printToPDF", printBackground=False)
        path.write_bytes(base64.b64decode(found["data"]))
