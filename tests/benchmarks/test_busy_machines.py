"""benchmarks.shards, benchmarks.memory and benchmarks.watching: they run, and measure what they promise."""

import asyncio
import contextlib
import json
import queue
import subprocess
import sys
import threading
from types import SimpleNamespace

import aiohttp.web
import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

from benchmarks import memory, shards, watching
from benchmarks.rounds import ROOT
from custom_models import faster_of_two


def run(*words: str) -> list[str]:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.end_to_end
def test_learning_and_acting_are_measured_beside_a_busy_program(tmp_path):
    few = ("--dtypes", "float32", "--neighbours", "0", "1", "--rows", "16", "--seconds", "0.1")
    table = run("benchmarks.shards", *few, "--out", str(tmp_path / "shards.json"))
    assert [line.split(" | ")[:4] for line in table[2:]] == [
        ["| learn", "16", "float32", "0"],
        ["| learn", "16", "float32", "1"],
        ["| act", "16", "float32", "0"],
        ["| act", "16", "float32", "1"],
    ]
    rounds = json.loads((tmp_path / "shards.json").read_text())["rounds"]
    assert all(min(row["shards"]) > 0 and len(row["openmp"]) >= 3 for row in rounds)


@pytest.mark.end_to_end
def test_the_memory_of_driver_and_training_process_is_watched(tmp_path):
    printed = run("benchmarks.memory", "--minutes", "0.4", "--out", str(tmp_path / "memory.json"))
    assert {"driver", "ray::TrainingProcess", "gcs_server"} <= {line.split(" | ")[0][2:] for line in printed}
    found = json.loads((tmp_path / "memory.json").read_text())
    assert found["rows"] > 1 and all(memory["driver"] > 50 for memory in found["memory"])


def test_a_run_that_ends_before_its_time_is_not_called_flat(tmp_path, monkeypatch):
    program = "import pathlib, sys\nfolder = pathlib.Path('a/b/c')\nfolder.mkdir(parents=True)\n"
    program += "(folder / 'progress.csv').write_text('agent_steps\\n1\\n')\ninput()\nsys.exit('out of memory')"
    run = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE)

    def end_run() -> dict[str, float]:
        _, said = run.communicate(b"\n", timeout=60)
        (tmp_path / "log.txt").write_bytes(said)
        return {"driver": 100.0}

    monkeypatch.setattr(memory, "INTERVAL_S", 0.05)
    monkeypatch.setattr(memory, "run_process", lambda *_: contextlib.nullcontext(run))
    monkeypatch.setattr(memory, "read_memory", end_run)
    with pytest.raises(SystemExit, match="out of memory"):
        memory.watch(tmp_path, 0.001, [])


@pytest.mark.parametrize(("last", "verdict"), [(104.0, "+4.0 MiB: flat"), (106.0, "+6.0 MiB: it grows")])
def test_what_one_process_gives_back_does_not_hide_what_another_keeps(last, verdict, tmp_path, monkeypatch, capsys):
    found = [{"driver": 100.0, "raylet": 50.0}] * 10 + [{"driver": last, "raylet": 10.0}] * 10
    monkeypatch.setattr(memory, "begin", lambda: {})
    monkeypatch.setattr(memory, "watch", lambda folder, minutes, typed: (found, 7))
    monkeypatch.setattr(sys, "argv", ["memory", f"--out={tmp_path / 'memory.json'}"])
    memory.main()
    assert verdict in capsys.readouterr().out


@pytest.mark.parametrize("faster", [0, 1])
def test_the_faster_way_is_chosen_before_a_line_is_measured(faster, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(faster_of_two, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def take(seconds):
        clock.now += seconds

    class Subject:
        def __init__(self):
            self.calls, self.choice = 0, faster_of_two.FasterOfTwo()

        def step(self, way):
            assert way == "shards"
            self.calls += 1
            self.choice.run([lambda way=way: take(1 if way == faster else 5) for way in (0, 1)])

    subject, period = Subject(), faster_of_two.PERIOD
    shards.settle(subject)
    assert subject.choice.chosen == faster and faster_of_two.PERIOD == period > subject.calls


@pytest.mark.parametrize("dies", [False, True])
def test_a_page_that_is_closed_is_no_viewer(dies, monkeypatch):
    """Pictures come until the viewer goes, or until the page is closed after some of them; a note is among them."""
    measured = threading.Event()  # the viewer has seen a picture, or that the page is closed

    async def show(request):
        page = aiohttp.web.WebSocketResponse(autoping=False)
        await page.prepare(request)
        for number in range(6):
            await (page.send_str("a note") if number == 2 else page.send_bytes(b"picture"))
        if dies:
            await page.close()
            measured.set()
            return page
        await page.ping()
        with contextlib.suppress(ConnectionError):
            while True:
                await page.send_bytes(b"picture")
                with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                    message = await page.receive(timeout=0.05)
                    if message.type != aiohttp.WSMsgType.PONG:
                        return page
                    measured.set()
        return page

    async def serve():
        application = aiohttp.web.Application()
        application.router.add_get("/", show)
        runner = aiohttp.web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        address.put(f"ws://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/")
        await over.wait()
        await runner.cleanup()

    monkeypatch.setattr(watching, "measure_speed", lambda run: measured.wait(60) and 100.0)
    address, loop = queue.Queue(), asyncio.new_event_loop()
    over = asyncio.Event()
    server = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    server.start()
    try:
        if dies:
            with pytest.raises(SystemExit, match="closed"):
                watching.measure_watched_speed(None, address.get(timeout=60))  # no run is looked at
        else:
            speed, shown = watching.measure_watched_speed(None, address.get(timeout=60))
            assert speed == 100.0 and shown > 0
    finally:
        loop.call_soon_threadsafe(over.set)
        server.join(60)
        loop.close()
