"""Watching a run: a page on 127.0.0.1 shows the curves of a run and its newest agent playing.

    run directory -> WatchServer (watch_server.py) -> browser

Only the run directory is read: the training may run on another machine, or be over. Nothing is written. A training on
the same machine keeps its speed: this process has the lowest priority, reads a table again only after it has grown, and
plays only while a page shows the game. The address holds a random token, and requests without it are refused.

This file imports nothing that takes seconds, so the address is printed at once.
"""

import asyncio
import os
import secrets
import socket
from pathlib import Path

from command_line.next_steps import is_training
from pages.watch_server import WatchServer
from playing.seed_checkpoints import refuse_foreign_checkpoint
from run_directory.provenance import identify_user
from runs.interrupt import STOP_SIGNALS
from settings.mistakes import Mistake

PORTS = range(8008, 8108)  # the ports that are tried if the user names none


def watch(run: Path, port: int | None = None, checkpoint: str | None = None) -> int:
    """Show a run to browsers until Ctrl-C.

    Args:
        run: the directory of a run, of one of several seeds, or of a search.
        port: the port of the page; None takes a free one from PORTS.
        checkpoint: the checkpoint that plays, as in `evaluate`; None takes the newest.

    Returns:
        The exit code, 0.

    Raises:
        Mistake: there is no such run, or the port cannot be used.
    """
    refuse_foreign_checkpoint(run, checkpoint)
    listener, token = open_port(port), secrets.token_urlsafe(16)
    os.nice(19)  # threads that start later inherit the priority
    port = listener.getsockname()[1]
    here, trains = identify_user(), is_training(run)
    print(f"watch: http://127.0.0.1:{port}/?token={token}")
    tunnel = f"ssh -L {port}:127.0.0.1:{port} {here['user']}@{here['host']}"
    print(f"  for a browser on another machine, type there first: {tunnel}")
    if not trains:
        print("  no process trains this run now: it has ended, or was stopped")
    print(f"  Ctrl-C ends the page{'; the run goes on' if trains else ''}", flush=True)
    asyncio.run(serve_browsers(WatchServer(run, checkpoint, token), listener))
    return 0


def open_port(port: int | None) -> socket.socket:
    """Return a socket on 127.0.0.1 that listens on a port; None takes a free one from PORTS.

    Raises:
        Mistake: the port, or each of PORTS, is in use or forbidden.
    """
    for one in PORTS if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server that has just ended blocks no port
        try:
            listener.bind(("127.0.0.1", one))
            listener.listen()
            return listener
        except OSError as error:
            listener.close()
            why = error.strerror
    which = f"port={port}" if port is not None else f"port: {PORTS[0]} to {PORTS[-1]}"
    raise Mistake(f"{which}: the page cannot be served there ({why}); give another, such as port=9000")


async def serve_browsers(server: WatchServer, listener: socket.socket) -> None:
    """Answer browsers until a signal ends the server."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, over.set)
    runner = await server.start(listener)
    await over.wait()
    await runner.cleanup()
