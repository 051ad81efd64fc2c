"""A real Chromium, driven over its DevTools pipe: what a page looks like and does, not what its source says."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)

OPEN_ALL = "document.querySelectorAll('details').forEach(part => { part.open = true })"
"""Unfold every part of a page."""

STICKING_OUT = """
[...document.querySelectorAll('.deeprec *')].filter(part => {
  if (part.closest('.hidden') || part.closest('.skip') || part.closest('.scroll > *')) return false
  const box = part.getBoundingClientRect()
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1)
}).map(part => part.tagName + '.' + part.className).slice(0, 5)
"""
"""Elements that reach past the window, except what stands in a part that scrolls."""
FAINT = """
(() => {
  const read = colour => { const n = colour.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n }
  const light = rgb => {
    const [r, g, b] = rgb.slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    return .2126 * r + .7152 * g + .0722 * b
  }
  const ground = part => {
    for (; part; part = part.parentElement) {
      const colour = read(getComputedStyle(part).backgroundColor)
      if (colour[3] === 1) return colour
      if (colour[3] !== 0) throw new Error('a ground that is half transparent')
    }
    return [255, 255, 255, 1]
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const found = {}
  let seen = 0
  while (walker.nextNode()) {
    const part = walker.currentNode.parentElement
    if (!walker.currentNode.data.trim() || part.tagName === 'STYLE' || !part.checkVisibility()) continue
    seen += 1
    const pair = [light(read(getComputedStyle(part).color)), light(ground(part))].sort((a, b) => b - a)
    const contrast = (pair[0] + .05) / (pair[1] + .05)
    if (contrast < 4.5) found[part.tagName + '.' + part.className] = contrast
  }
  return {seen, found}
})()
"""
"""Contrast of every text with what is painted behind it (WCAG 2.2), where it is below 4.5."""
PLANTED = (
    "script, img:not([src^=data]), svg, iframe, textarea, form, input, [onerror], [onload], "
    "[onfocus], [onmouseover], #planted"
)
"""Elements that an attack in `tests.inspected_runs` would leave."""


class _Pipe:
    """The pipe of one Chromium, which all of its pages share."""

    def __init__(self, reading: int, writing: int) -> None:
        self._in, self._out = os.fdopen(reading, "rb", buffering=0), os.fdopen(writing, "wb", buffering=0)
        self._count, self._buffer = 0, b""
        self.events: dict[str | None, list[dict[str, Any]]] = {}

    def call(self, method: str, parameters: dict[str, Any], session: str | None) -> dict[str, Any]:
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]  # type: ignore[no-any-return]

    def read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = self._in.read(1 << 20)
            if not part:
                raise AssertionError("Chromium has ended.")
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self.events.setdefault(message.get("sessionId"), []).append(message)
        return message

    def close(self) -> None:
        self._in.close()
        self._out.close()


class Browser:
    """One page of one browser."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe
        # A context of its own has cookies of its own, as another person's browser has.
        context = pipe.call("Target.createBrowserContext", {}, None)["browserContextId"]
        made = pipe.call("Target.createTarget", {"url": "about:blank", "browserContextId": context}, None)
        attached = pipe.call("Target.attachToTarget", {"targetId": made["targetId"], "flatten": True}, None)
        self._session = attached["sessionId"]
        self.events = pipe.events.setdefault(self._session, [])
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)  # each page takes keys as if it were in front

    def another(self) -> Browser:
        """A page of another person, who shares no cookie with this one."""
        return Browser(self._pipe)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One DevTools command on the page."""
        return self._pipe.call(method, parameters, self._session)

    def open(
        self,
        address: Path | str,
        *,
        width: int = 1280,
        dark: bool = False,
        media: str = "screen",
        still: bool = False,
    ) -> None:
        """Load a file or an address at a width, 800 px high, in a colour scheme, and wait until it is laid out.

        `still` is for a person who wants no motion.
        """
        mobile = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=mobile)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme, motion])
        self.events.clear()
        self.call("Page.navigate", url=address.resolve().as_uri() if isinstance(address, Path) else address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._pipe.read()

    def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to on the page, as JSON; it runs whatever the page's policy says."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """Strike one key."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **typed)

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        """Save what the page looks like, whole or as far as the window shows it."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))

    def requested(self) -> list[str]:
        """The addresses that the page has asked for since it was opened."""
        sent = [event for event in self.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def complaints(self) -> list[str]:
        """What the console of the page says: errors, and what its policy has blocked."""
        logged = [event["params"]["entry"]["text"] for event in self.events if event["method"] == "Log.entryAdded"]
        return logged + [str(event["params"]) for event in self.events if event["method"] == "Runtime.exceptionThrown"]

    def write(self, text: str) -> None:
        """Write into the element that has the focus, as a keyboard does."""
        self.call("Input.insertText", text=text)

    def wait_until(self, expression: str, seconds: float = 20) -> None:
        """Wait until a JavaScript expression is true on the page."""
        deadline = time.monotonic() + seconds
        while not self.value(expression):
            assert time.monotonic() < deadline, f"not within {seconds} s: {expression}\n{self.complaints()}"
            time.sleep(0.02)


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start a browser with a fresh profile, and end it with the block. The test is skipped where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium on the PATH: apt-get install chromium")
    to_browser, from_browser = os.pipe(), os.pipe()
    flags = [*_FLAGS, f"--user-data-dir={profile}", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    # Chromium reads commands at descriptor 3 and answers at 4.
    script = f'exec "$0" "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
    process = subprocess.Popen(
        ["bash", "-c", script, program, *flags],
        pass_fds=(to_browser[0], from_browser[1]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(to_browser[0])
    os.close(from_browser[1])
    pipe = _Pipe(from_browser[0], to_browser[1])
    try:
        yield Browser(pipe)
    finally:
        pipe.close()  # Chromium ends by itself then
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
