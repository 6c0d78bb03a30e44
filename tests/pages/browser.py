"""A headless Chromium that runs a script in a page, in real time, and returns what it says.

chromium --remote-debugging-port=0 -> DevToolsActivePort -> WebSocket -> Runtime.evaluate
"""

import asyncio
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import aiohttp

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
NONE = "no Chromium on this machine: apt-get install chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"]


def run_in_browser(url: str, script: str, folder: Path, width: int = 1000, height: int = 900) -> Any:
    """Open a page and return the value of a script: the body of an async function.

    Args:
        url: of the page.
        script: JavaScript that returns plain data; `later(ms)` waits.
        folder: for the browser's own files.
        width, height: of the window, in pixels.

    Raises:
        AssertionError: the browser did not start, or the script failed.
    """
    profile = folder / "chromium"
    flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
    with open(folder / "chromium.log", "w") as log:
        browser = subprocess.Popen([str(CHROMIUM), *flags, "about:blank"], stdout=log, stderr=log)
    try:
        port, end = profile / "DevToolsActivePort", time.monotonic() + 60
        while not (port.exists() and port.read_text().count("\n")):
            assert browser.poll() is None and time.monotonic() < end, (folder / "chromium.log").read_text()
            time.sleep(0.1)
        return asyncio.run(_ask(int(port.read_text().splitlines()[0]), url, script))
    finally:
        browser.kill()
        browser.wait()


async def _ask(port: int, url: str, script: str) -> Any:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            tab = next(one for one in await answer.json() if one["type"] == "page")
        async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:

            async def call(number: int, method: str, **parameters: Any) -> dict:
                await socket.send_json({"id": number, "method": method, "params": parameters})
                while True:
                    message = await socket.receive_json(timeout=120)
                    if message.get("id") == number:
                        return message["result"]

            await call(1, "Page.enable")
            await call(2, "Page.navigate", url=url)
            body = "const later = ms => new Promise(done => setTimeout(done, ms));\n"
            body += "while (document.readyState != 'complete') await later(50);\n" + script
            expression = f"(async () => {{ {body} }})()"
            await asyncio.sleep(0.5)  # until the page has taken the place of the blank one
            result = await call(3, "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
            assert "exceptionDetails" not in result, result["exceptionDetails"]
            return result["result"].get("value")
