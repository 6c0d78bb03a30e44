"""The server of the page that watches a run, with the requests that it answers.

    GET /       the page, watch.html
    GET /state  the curves; the page asks again every few seconds
    GET /play   a WebSocket: one game after another, until the page closes it

It answers only requests that hold the token and come from a page on this machine. This file imports nothing that takes
seconds.
"""

import asyncio
import contextlib
import json
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from command_line.next_steps import is_training
from pages.templates import read_template
from pages.watch_curves import WatchCurves
from run_directory.layout import AGENT, CONFIG, format_command, list_seed_runs
from run_directory.searches import STAGES
from settings.mistakes import EnvironmentFault, Mistake, format_error

HOSTS = ("127.0.0.1", "localhost", "::1")  # the names of this server in a browser, through SSH too
MAX_GAMES = 16  # games that are played at once, for all pages together
RETRY_S = 2.0  # seconds until a missing checkpoint is looked for again
MAX_CATCH_UP_S = 0.25  # a game that is late may run faster until it has made up this much
SPEEDS = {"0": 0.0, "1/4": 0.25, "1": 1.0, "4": 4.0}  # message of the page -> speed of the game; 0 pauses it
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self' ws:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
}


class WatchServer:
    """Serves the page of a run, its curves and its games.

    Args:
        run: the directory of a run or a search, as in `watch`.
        checkpoint: the checkpoint that plays, as in `watch`.
        token: the secret that every address must hold.
    """

    def __init__(self, run: Path, checkpoint: str | None, token: str):
        self.run, self.checkpoint, self.token = run, checkpoint, token
        self._curves: dict[str, WatchCurves] = {}
        self._sockets: set[web.WebSocketResponse] = set()
        self._readers = ThreadPoolExecutor(1)
        self._players = ThreadPoolExecutor(1, initializer=prepare_player)

    async def start(self, listener: socket.socket) -> web.AppRunner:
        """Start to serve on a socket; `cleanup` of the returned runner ends the server."""
        app = web.Application(middlewares=[self._check_request])
        answers = {"/": self._send_page, "/state": self._send_state, "/play": self._play_games}
        app.add_routes([web.get(path, answer, allow_head=False) for path, answer in answers.items()])
        app.on_shutdown.append(self._close_games)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        return runner

    def find_runs(self) -> dict[str, Path]:
        """Return the present runs of single seeds: path below the watched directory -> run directory."""
        stages = [path for stage in ("trials", *STAGES) for path in sorted(self.run.glob(f"{stage}/*"))]
        runs = [path for path in stages if (path / CONFIG).is_file()] or [self.run]
        try:
            return {str(one.relative_to(self.run)): one for path in runs for one in list_seed_runs(path)}
        except Mistake:  # the directory was deleted
            return {}

    @web.middleware
    async def _check_request(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuse requests without the token, and requests from pages of other sites (DNS rebinding)."""
        token = request.query.get("token", "")
        names = [request.url.host, *([find_origin(request)] if "Origin" in request.headers else [])]
        if not secrets.compare_digest(token.encode(), self.token.encode()) or not {*names} <= {*HOSTS}:
            raise web.HTTPForbidden(text="This address is incomplete: open the one that command=watch has printed.\n")
        answer = await handler(request)
        if not answer.prepared:
            answer.headers.update(HEADERS)
        return answer

    async def _send_page(self, request: web.Request) -> web.Response:
        """Answer with the page."""
        return web.Response(text=read_template("watch.html"), content_type="text/html")

    async def _send_state(self, request: web.Request) -> web.Response:
        """Answer with the curves, which another thread reads."""
        work = asyncio.get_running_loop().run_in_executor(self._readers, self.describe_state, request.query.get("run"))
        return web.Response(text=await work, content_type="application/json")

    def describe_state(self, chosen: str | None) -> str:
        """Return the data of the page as JSON: a summary of each run, and all curves of the chosen run."""
        runs = self.find_runs()
        for name, run in runs.items():
            self._curves.setdefault(name, WatchCurves(run))
        summaries = {name: self._curves[name].summarize() for name in runs}
        content = {
            "title": next((self._curves[name].read_content()["title"] for name in runs), self.run.name),
            "path": str(self.run),
            "resume": format_command(f"resume={self.run}"),
            "search": (self.run / "trials").is_dir(),
            "training": is_training(self.run),
            "published": (self.run / AGENT).is_file(),
            "runs": summaries,
            "chosen": self._curves[chosen].read_content() if chosen in runs else None,
        }
        return json.dumps(content)

    async def _play_games(self, request: web.Request) -> web.StreamResponse:
        """Show games to one viewer through a WebSocket until the viewer closes it."""
        run, every = self.find_runs().get(request.query.get("run", "")), request.query.get("every", "1")
        if run is None or every not in ("1", "2", "4"):
            raise web.HTTPNotFound(text="There is no such game.\n")
        viewer = web.WebSocketResponse(compress=False, heartbeat=20, timeout=1)
        await viewer.prepare(request)
        controls = GameControls()
        if len(self._sockets) >= MAX_GAMES:
            await viewer.send_json({"note": f"{MAX_GAMES} games are played already; close another page", "end": True})
            await viewer.close()
            return viewer
        self._sockets.add(viewer)
        showing = asyncio.create_task(self._show_games(viewer, run, int(every), controls))
        try:
            async for message in viewer:  # ends when the WebSocket is closed
                if message.type == WSMsgType.TEXT:
                    controls.handle_message(message.data)
        finally:
            self._sockets.discard(viewer)
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await showing
        return viewer

    async def _show_games(self, viewer: web.WebSocketResponse, run: Path, every: int, controls: "GameControls") -> None:
        """Play one game after another for one viewer, at the speed that the viewer has chosen."""
        loop, game = asyncio.get_running_loop(), None
        try:
            game = await loop.run_in_executor(self._players, open_live_game, run, self.checkpoint)
            due, said = loop.time(), ""
            while not viewer.closed:
                await controls.running.wait()
                if controls.take_next():
                    game.skip()
                frames_each = 4 if controls.speed > 1 else every  # no screen shows 240 pictures per second
                try:
                    message, seconds = await loop.run_in_executor(self._players, game.play, frames_each)
                except (Mistake, EnvironmentFault) as error:
                    end = type(error).__name__ == "NoPictures"
                    if str(error) != said:
                        said = str(error)
                        await viewer.send_json({"note": said, "end": end})
                    if end:
                        return
                    await asyncio.sleep(RETRY_S)
                    continue
                said = ""
                await viewer.send_bytes(message)
                if controls.speed:
                    due = max(due + seconds / controls.speed, loop.time() - MAX_CATCH_UP_S)
                else:
                    due = loop.time()
                await asyncio.sleep(due - loop.time())
        except Exception as error:  # environments and damaged files may raise anything; the curves go on
            await viewer.send_json({"note": f"No game can be shown: {format_error(error)}", "end": True})
        finally:
            with contextlib.suppress(RuntimeError):  # raised if the server has ended
                if game:
                    self._players.submit(game.close)

    async def _close_games(self, app: web.Application) -> None:
        """Close all games, and stop the threads."""
        for viewer in [*self._sockets]:
            await viewer.close(code=1001, message=b"the server ends")
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._players.shutdown(wait=False)


class GameControls:
    """The speed of a game and the requests for the next game, as one viewer has set them."""

    def __init__(self):
        self.speed, self._next = 1.0, False
        self.running = asyncio.Event()
        self.running.set()

    def handle_message(self, text: str) -> None:
        """Handle a message of the page: `next`, or a speed from SPEEDS; all others are ignored."""
        if text == "next":
            self._next = True
        elif text in SPEEDS:
            self.speed = SPEEDS[text]
            (self.running.set if self.speed else self.running.clear)()

    def take_next(self) -> bool:
        """Return whether the viewer has asked for the next game since the last call."""
        wanted, self._next = self._next, False
        return wanted


def prepare_player() -> None:
    """Give the thread that plays the lowest priority there is, and let PyTorch compute in this thread alone."""
    import torch

    torch.set_num_threads(1)
    with contextlib.suppress(AttributeError, OSError):  # of other systems, and of containers that forbid it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def open_live_game(run: Path, checkpoint: str | None) -> Any:
    """Return a LiveGame; its import takes seconds."""
    from recordings.live_game import LiveGame

    return LiveGame(run, checkpoint)


def find_origin(request: web.Request) -> str | None:
    """Return the host of the site whose page has sent the request, or None if it is not an address."""
    from yarl import URL

    try:
        return URL(request.headers["Origin"]).host
    except ValueError:
        return None
