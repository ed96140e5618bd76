"""Headless Chromium, driven by its DevTools protocol over a WebSocket."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import aiohttp

BINARY = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--remote-debugging-port=0", "--force-prefers-reduced-motion"),
)


class Tab:
    """A tab of the browser."""

    def __init__(self, socket):
        self._socket, self._count = socket, 0
        self.errors = []

    async def call(self, method, **params):
        """Call a method of the protocol and return its result."""
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": params})
        async for message in self._socket:
            answer = json.loads(message.data)
            if answer.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.errors.append(answer["params"])
            if answer.get("id") == self._count:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]

    async def open(self, url):
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression):
        """Return the value of an expression of JavaScript."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True)
        return answer["result"].get("value")

    async def wait(self, expression, seconds=60.0):
        """Wait until an expression is true, and return its value."""
        async with asyncio.timeout(seconds):
            while not (value := await self.evaluate(expression)):
                await asyncio.sleep(0.1)
        return value


@contextlib.asynccontextmanager
async def open_tab():
    """Start the browser with one tab, and end it after the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [BINARY, *_FLAGS, f"--user-data-dir={folder}", "about:blank"]
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as browser:
            try:
                port = await _read_port(Path(folder, "DevToolsActivePort"))
                async with aiohttp.ClientSession() as session:
                    async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                        tabs = await response.json()
                    url = next(tab for tab in tabs if tab["type"] == "page")["webSocketDebuggerUrl"]
                    async with session.ws_connect(url, max_msg_size=0) as socket:
                        yield Tab(socket)
            finally:
                browser.kill()


async def _read_port(path):
    """Return the port that the browser writes into a file once it listens."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(FileNotFoundError, IndexError):
                return int(path.read_text().splitlines()[0])
            await asyncio.sleep(0.05)
