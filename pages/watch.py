"""Watching a run: a page on 127.0.0.1 with its curves, and its newest agent playing.

    run directory -> progress.csv, checkpoints -> GET /       the page, watch.html
                                                  GET /state  the curves, asked for again and again
                                                  GET /play   a WebSocket: one game, until it is closed

The run directory is all that is asked: the training may run on another machine, or be over. Nothing is written. Whoever
trains beside it keeps the machine: this process is nice, reads a table again only where it has grown, and plays only
while a page shows it. The address holds a random token, and without it there is nothing to see.

This file imports nothing that takes seconds, so that the address is printed at once.
"""

import asyncio
import contextlib
import getpass
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from pages.templates import read_template
from run_directory.layout import CONFIG, PROGRESS_CSV, list_seed_runs
from run_directory.saved_settings import read_run_settings
from run_directory.searches import STAGES
from settings.mistakes import EnvironmentFault, Mistake, in_a_line

PORTS = range(8008, 8108)  # that are tried where none is asked for
HOSTS = ("127.0.0.1", "localhost", "::1")  # that a browser may know this server by: through SSH as well
MOST_GAMES = 16  # that are played at once, for all pages together
RETRY_S = 2.0  # until a checkpoint is looked for again
SHARE = 0.02  # of the time, at most, that goes into reading one table again
LATE_S = 0.25  # by so much a game may hurry to be in time again
SPEEDS = {"0": 0.0, "1/4": 0.25, "1": 1.0, "4": 4.0}  # of a game; 0: it pauses
POINTS = 50  # of a curve on the wall
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data:; connect-src 'self' ws:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the address holds the token
    "X-Content-Type-Options": "nosniff",
}


def watch(run: Path, port: int | None = None, checkpoint: str | None = None) -> int:
    """Show a run to a browser until Ctrl-C.

    Args:
        run: the directory of a run, of one of several seeds, or of a search.
        port: that the page is found at; None takes a free one of PORTS.
        checkpoint: that plays, as in `evaluate`; None takes the newest.

    Returns:
        The exit code, 0.

    Raises:
        Mistake: there is no such run, or the port cannot be had.
    """
    list_seed_runs(run)
    listener, token = listen(port), secrets.token_urlsafe(16)
    os.nice(19)  # before there are threads, which take it over
    port = listener.getsockname()[1]
    tunnel = f"ssh -L {port}:127.0.0.1:{port} {whoami()}@{socket.gethostname()}"
    print(f"watch: http://127.0.0.1:{port}/?token={token}")
    print(f"  for a browser on another machine, type there first: {tunnel}")
    print("  Ctrl-C ends it; the run goes on", flush=True)
    asyncio.run(serve(Watch(run, checkpoint, token), listener))
    return 0


def listen(port: int | None) -> socket.socket:
    """Return a socket on 127.0.0.1 that a server may take over.

    Raises:
        Mistake: the port, or each of PORTS, is in use or not to be had.
    """
    for one in PORTS if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # of a server that has just ended
        try:
            listener.bind(("127.0.0.1", one))
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            why = error.strerror
    which = f"port={port}" if port is not None else f"port: {PORTS[0]} to {PORTS[-1]}"
    raise Mistake(f"{which}: the page cannot be served there ({why}); give another, such as port=9000")


def whoami() -> str:
    """Return the name of the user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have none
        return "user"


async def serve(pages: "Watch", listener: socket.socket) -> None:
    """Answer browsers until a signal ends it."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    runner = await pages.start(listener)
    await over.wait()
    await runner.cleanup()


class Table:
    """The curves of one run of one seed, read again when there is more of them."""

    def __init__(self, run: Path):
        self._run = run
        self._read, self._after, self._content = None, 0.0, {}

    def content(self) -> dict[str, Any]:
        """Return what `curves_of` finds, `title`, `budget`, `note` (what is wrong), and `age_s`, seconds since then."""
        from pages.run_page import curves_of, title_of

        path = self._run / PROGRESS_CSV
        try:
            found = path.stat()
            state, age = (found.st_ino, found.st_size, found.st_mtime_ns), max(0.0, time.time() - found.st_mtime)
        except OSError:
            state, age = None, None
        if not self._content or (state != self._read and time.monotonic() >= self._after):
            began = time.monotonic()
            try:
                settings = read_run_settings(self._run)
                budget = settings.get("stop", {}).get("agent_steps")
                facts = {"title": title_of(settings), "budget": budget, "note": ""}
                self._content = facts | curves_of(settings, self._run)
            except (Mistake, OSError) as error:  # it may be about to be written
                self._content = {"curves": [], "title": self._run.name} | self._content | {"note": str(error)}
            self._read, self._after = state, time.monotonic() + (time.monotonic() - began) / SHARE
        return self._content | {"age_s": age}

    def row(self) -> dict[str, Any]:
        """Return the last values, and the score as a curve of POINTS."""
        from pages.run_page import CURVES

        content = self.content()
        row = {"note": content["note"], "age_s": content["age_s"], "budget": content.get("budget")}
        if not content["curves"]:
            return row | {"agent_steps": None, "score": None, "speed": None, "xs": [], "ys": []}
        xs, ys = content["axes"]["agent_steps"], content["curves"][0]["values"]
        speed = next(
            (one["values"][-1] for one in content["curves"] if one["name"] == CURVES["agent_steps_per_s"]), None
        )
        every = max(1, len(xs) // POINTS)
        thin = {"xs": xs[::-every][::-1], "ys": ys[::-every][::-1]}
        return row | {"agent_steps": xs[-1], "score": ys[-1], "speed": speed} | thin


class Watch:
    """The server: what it answers, and to whom.

    Args:
        run: as in `watch`.
        checkpoint: as in `watch`.
        token: that every address has to hold.
    """

    def __init__(self, run: Path, checkpoint: str | None, token: str):
        self.run, self.checkpoint, self.token = run, checkpoint, token
        self._tables: dict[str, Table] = {}
        self._sockets: set[web.WebSocketResponse] = set()
        self._readers = ThreadPoolExecutor(1)
        self._players = ThreadPoolExecutor(1, initializer=take_one_thread)

    async def start(self, listener: socket.socket) -> web.AppRunner:
        """Serve on a socket; `cleanup` of what is returned ends it."""
        app = web.Application(middlewares=[self._guard])
        answers = {"/": self._page, "/state": self._state, "/play": self._play}
        app.add_routes([web.get(path, answer, allow_head=False) for path, answer in answers.items()])
        app.on_shutdown.append(self._end)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        return runner

    def folders(self) -> dict[str, Path]:
        """Return the runs of single seeds that there are by now, each by its path in the directory that is watched."""
        stages = [path for stage in ("trials", *STAGES) for path in sorted(self.run.glob(f"{stage}/*"))]
        runs = [path for path in stages if (path / CONFIG).is_file()] or [self.run]
        try:
            return {str(one.relative_to(self.run)): one for path in runs for one in list_seed_runs(path)}
        except Mistake:  # somebody has taken it away
            return {}

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Let in who knows the token, and no page of another site that a browser shows (DNS rebinding)."""
        token = request.query.get("token", "")
        names = [request.url.host, *([origin_of(request)] if "Origin" in request.headers else [])]
        if not secrets.compare_digest(token.encode(), self.token.encode()) or not {*names} <= {*HOSTS}:
            raise web.HTTPForbidden(text="This address is incomplete: open the one that command=watch has printed.\n")
        answer = await handler(request)
        if not answer.prepared:
            answer.headers.update(HEADERS)
        return answer

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=read_template("watch.html"), content_type="text/html")

    async def _state(self, request: web.Request) -> web.Response:
        work = asyncio.get_running_loop().run_in_executor(self._readers, self.state, request.query.get("run"))
        return web.Response(text=await work, content_type="application/json")

    def state(self, chosen: str | None) -> str:
        """Return what the page draws, as JSON: `title`, `search`, a row for each run, and all curves of the chosen."""
        folders = self.folders()
        for name, folder in folders.items():
            self._tables.setdefault(name, Table(folder))
        rows = {name: self._tables[name].row() for name in folders}
        content = {
            "title": next((self._tables[name].content()["title"] for name in folders), self.run.name),
            "path": str(self.run),
            "search": (self.run / "trials").is_dir(),
            "runs": rows,
            "chosen": self._tables[chosen].content() if chosen in folders else None,
        }
        return json.dumps(content)

    async def _play(self, request: web.Request) -> web.StreamResponse:
        folder, every = self.folders().get(request.query.get("run", "")), request.query.get("every", "1")
        if folder is None or every not in ("1", "2", "4"):
            raise web.HTTPNotFound(text="There is no such game.\n")
        viewer = web.WebSocketResponse(compress=False, heartbeat=20, timeout=1)
        await viewer.prepare(request)
        wishes = Wishes()
        if len(self._sockets) >= MOST_GAMES:
            await viewer.send_json({"note": f"{MOST_GAMES} games are played already; close another page", "end": True})
            await viewer.close()
            return viewer
        self._sockets.add(viewer)
        showing = asyncio.create_task(self._show(viewer, folder, int(every), wishes))
        try:
            async for message in viewer:  # until it is closed
                if message.type == WSMsgType.TEXT:
                    wishes.hear(message.data)
        finally:
            self._sockets.discard(viewer)
            showing.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await showing
        return viewer

    async def _show(self, viewer: web.WebSocketResponse, folder: Path, every: int, wishes: "Wishes") -> None:
        """Play one game after another for one viewer, not faster than is asked for."""
        loop = asyncio.get_running_loop()
        game = await loop.run_in_executor(self._players, open_live_game, folder, self.checkpoint)
        try:
            due, said = loop.time(), ""
            while not viewer.closed:
                await wishes.running.wait()
                if wishes.take_next():
                    game.skip()
                fewer = 4 if wishes.speed > 1 else every  # pictures, as no screen shows 240 a second
                try:
                    message, seconds = await loop.run_in_executor(self._players, game.play, fewer)
                except (Mistake, EnvironmentFault) as error:
                    end = type(error).__name__ == "NoPictures"
                    if str(error) != said:
                        said = str(error)
                        await viewer.send_json({"note": said, "end": end})
                    if end:
                        return
                    await asyncio.sleep(RETRY_S)
                    continue
                except Exception as error:  # what an environment or a damaged file may raise; the curves go on
                    await viewer.send_json({"note": f"No game can be shown: {in_a_line(error)}", "end": True})
                    return
                said = ""
                await viewer.send_bytes(message)
                due = max(due + seconds / wishes.speed, loop.time() - LATE_S) if wishes.speed else loop.time()
                await asyncio.sleep(due - loop.time())
        finally:
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._players.submit(game.close)

    async def _end(self, app: web.Application) -> None:
        for viewer in [*self._sockets]:
            await viewer.close(code=1001, message=b"the server ends")
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._players.shutdown(wait=False)


class Wishes:
    """What a viewer has asked for: how fast the game is, and whether the next one may begin."""

    def __init__(self):
        self.speed, self._next = 1.0, False
        self.running = asyncio.Event()
        self.running.set()

    def hear(self, text: str) -> None:
        """Take a message of the page: `next`, or a speed of SPEEDS; anything else is not heard."""
        if text == "next":
            self._next = True
        elif text in SPEEDS:
            self.speed = SPEEDS[text]
            (self.running.set if self.speed else self.running.clear)()

    def take_next(self) -> bool:
        """Return whether the next game was asked for since this was asked last."""
        asked, self._next = self._next, False
        return asked


def take_one_thread() -> None:
    """Let the thread that plays compute alone: beside a training, threads would mostly wait for each other."""
    import torch

    torch.set_num_threads(1)


def open_live_game(run: Path, checkpoint: str | None) -> Any:
    """Return a LiveGame; its imports take seconds."""
    from pages.live_game import LiveGame

    return LiveGame(run, checkpoint)


def origin_of(request: web.Request) -> str | None:
    """Return the host of the site whose page asks."""
    from yarl import URL

    try:
        return URL(request.headers["Origin"]).host
    except ValueError:
        return None
