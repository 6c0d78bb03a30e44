"""Watching a run: who may, what a page is sent, and what a browser shows of a run that is under way."""

import asyncio
import importlib
import io
import itertools
import json
import os
import re
import secrets
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import requests
import torch
import yaml
from browser import CHROMIUM, NONE, run_in_browser
from rich.console import Console
from small_worlds import ASSAULT, NATURE

import run as command_line
from command_line.next_steps import is_training
from pages.watch import PORTS, open_port, watch
from pages.watch_curves import WatchCurves
from pages.watch_server import MAX_GAMES, WatchServer, prepare_player
from recordings.live_game import LiveGame, NoPictures
from recordings.replayed_game import Emulator
from run_directory.layout import MANIFEST, STARTS
from run_directory.manifest import write_manifest
from run_directory.weights import write_weights
from run_directory.writing import lock_folder
from runs.display import Display
from settings.mistakes import EnvironmentFault, Mistake

HEAD = "agent_steps,wall_time_s,episode_return_mean,policy_loss,agent_steps_per_s\n"
ROWS = "1000,2.0,nan,0.5,500\n2000,4.0,300.0,0.25,510\n3000,6.0,320.0,0.2,520\n"
ROOT = Path(command_line.__file__).resolve().parent


@pytest.fixture
def assault_run(make_run):
    """An untrained agent whose games of Assault last 60 agent steps, and some rows of a training."""
    bias = [0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.2]  # so that actions differ in how likely they are
    run = make_run("assault", env=ASSAULT, model=NATURE, bias=bias)
    (run / "progress.csv").write_text(HEAD + ROWS)
    return run


@pytest.fixture
def serve(monkeypatch):
    """Serve a directory from a thread; returns the address, without the token. Games are played at the priority of all
    else, because the lowest one gets next to nothing of a machine whose cores are all busy."""
    over = []
    monkeypatch.setattr("pages.watch_server.prepare_player", lambda: torch.set_num_threads(1))

    def start(run: Path, checkpoint: str | None = None) -> str:
        listener, ready, loop = open_port(None), threading.Event(), asyncio.new_event_loop()
        end = asyncio.Event()

        async def stay() -> None:
            runner = await WatchServer(run, checkpoint, "secret").start(listener)
            ready.set()
            await end.wait()
            await runner.cleanup()

        thread = threading.Thread(target=loop.run_until_complete, args=(stay(),))
        thread.start()
        assert ready.wait(120)
        over.append((thread, loop, end))
        return "http://{}:{}".format(*listener.getsockname())

    yield start
    for thread, loop, end in over:
        loop.call_soon_threadsafe(end.set)
        thread.join(120)
        loop.close()


def read_messages(
    address: str,
    count: int,
    words: str = "run=.",
    say: tuple[str, ...] = (),
    on_note: Callable[[], None] | None = None,
    num_frames: int | None = None,
) -> list:
    """What a page is sent, `count` messages at most: headers and frames uint8 [n, H, W, 3] of agent steps, and notes.
    One with `num_frames` frames is the last."""

    async def ask() -> list:
        found, last = [], np.zeros((), np.uint8)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{address}/play?token=secret&{words}") as page,
        ):
            for word in say:
                await page.send_str(word)
            while len(found) < count:
                message = await page.receive(60)
                if message.type == aiohttp.WSMsgType.TEXT:
                    found.append(json.loads(message.data))
                    if on_note:
                        on_note()
                    continue
                assert message.type == aiohttp.WSMsgType.BINARY, message
                size = struct.unpack("<I", message.data[:4])[0]
                header = json.loads(message.data[4 : 4 + size])
                changes = np.frombuffer(zlib.decompress(message.data[4 + size :]), np.uint8).reshape(header["shape"])
                last = np.zeros_like(changes[0]) if header["whole"] else last
                frames = [last := last ^ change for change in changes]
                found.append((header, np.stack(frames)))
                if len(frames) == num_frames:
                    break
        return found

    return asyncio.run(ask())


def state_of(address: str, run: str = ".") -> dict:
    return requests.get(f"{address}/state", {"token": "secret", "run": run}, timeout=60).json()


def files_of(run: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in run.rglob("*")}


def new_weights(run: Path, agent_steps: int) -> None:
    """Another checkpoint takes the place of `last`."""
    folder = run / "checkpoints" / "last"
    (folder / "progress.json").write_text(json.dumps({"agent_steps": agent_steps}))
    write_weights(folder)
    write_manifest(folder)


# Who may see it -------------------------------------------------------------------------------------------------------


def test_the_address_waits_for_neither_ray_nor_torch():
    script = "import sys, pages.watch; print({'ray', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"


def test_without_the_token_there_is_nothing_to_see(assault_run, serve):
    address = serve(assault_run)
    for path in ("", "state", "play", "state?token=", "?token=wrong", "?token=s%C3%A9cret", "config.yaml", "nothing"):
        answer = requests.get(f"{address}/{path}", timeout=60)
        assert answer.status_code == 403 and "assault" not in answer.text.lower(), path
    assert requests.get(f"{address}/?token=secret", timeout=60).status_code == 200
    assert requests.get(f"{address}/config.yaml?token=secret", timeout=60).status_code == 404


def test_a_page_of_another_site_is_kept_out_even_with_the_token(assault_run, serve):
    address = serve(assault_run)
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        for path in ("", "state", "play"):
            answer = requests.get(f"{address}/{path}?token=secret", headers=headers, timeout=60)
            assert answer.status_code == 403, (headers, path)
    through_ssh = {"Host": "localhost:9999", "Origin": "http://localhost:9999"}
    answer = requests.get(f"{address}/?token=secret", headers=through_ssh, timeout=60)
    assert answer.status_code == 200 and "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_it_listens_on_this_machine_alone_and_can_only_be_read(assault_run, serve):
    address, before = serve(assault_run), files_of(assault_run)
    assert address.startswith("http://127.0.0.1:")
    for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
        assert requests.request(method, f"{address}/state?token=secret", timeout=60).status_code == 405
    for words in ("run=..", "run=../assault", "run=/etc", "run=.&every=0", "run=.&every=x", ""):
        assert requests.get(f"{address}/play?token=secret&{words}", timeout=60).status_code == 404, words
    read_messages(address, 3, say=("nonsense", "-1", "4"))
    state_of(address, "../..")
    assert files_of(assault_run) == before


def test_a_port_in_use_is_refused_and_another_taken_where_none_was_asked_for(assault_run, capsys):
    first = open_port(None)
    port = first.getsockname()[1]
    second = open_port(None)
    assert port in PORTS and second.getsockname()[1] in PORTS and second.getsockname()[1] != port
    second.close()
    with pytest.raises(Mistake, match=f"port={port}"):
        open_port(port)
    assert command_line.main(["command=watch", f"run={assault_run}", f"port={port}"]) == 2
    out, err = capsys.readouterr()
    assert f"error: port={port}: " in err and out == ""
    first.close()
    open_port(port).close()


@pytest.mark.parametrize("word", ["port=0", "port=65536", "port=x"])
def test_a_port_that_is_none_is_refused(assault_run, word, capsys):
    assert command_line.main(["command=watch", f"run={assault_run}", word]) == 2
    assert word in capsys.readouterr().err


# What is played -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_the_game_in_colour_is_the_game_that_the_agent_plays(make_run, sticky, monkeypatch):
    """In Breakout lives are lost soon, and FIRE is pressed then whatever the agent says."""
    seeds = itertools.count(1)  # some games have no reward
    for name in ("randbelow", "randbits"):
        monkeypatch.setattr(secrets, name, lambda most: next(seeds))
    env = ASSAULT | {"name": "breakout", "game": "breakout", "sticky": sticky, "max_episode_frames": 108_000}
    game = LiveGame(make_run(env=env, model=NATURE), None)
    seen, pressed = [], 0
    for _ in range(350):
        if game._over:
            game._begin_game()
            game._screen.step = lambda action, step=game._screen.step: seen.append(step(action)) or seen[-1]
        message, seconds = game.play(1)
        header, moment = header_of(message), seen[-1]
        assert game._score - header["score"] == moment.reward
        assert game._over == (moment.terminated or moment.truncated)
        assert seconds == len(moment.frames) / 60 and header["shape"][0] == len(moment.frames)
        pressed += not header["decided"]
    assert game.number >= 2 and sum(moment.reward for moment in seen) > 0 and pressed >= 4
    game.close()


def test_a_page_is_sent_60_frames_a_second_with_what_the_agent_thought(make_run, serve, monkeypatch):
    shown, step = [], Emulator.step
    monkeypatch.setattr(Emulator, "step", lambda *words: shown.append(step(*words)) or shown[-1])
    messages = read_messages(serve(make_run(env=ASSAULT | {"max_episode_frames": 80}, model=NATURE)), 30)
    frames = np.concatenate([frames for _, frames in messages])
    np.testing.assert_array_equal(frames, np.concatenate([moment.frames for moment in shown])[: len(frames)])
    assert frames.shape[1:] == (210, 160, 3) and frames.max() > 100
    assert len({frame.tobytes() for frame in frames[20:60]}) > 15
    for header, _ in messages:
        assert abs(sum(header["policy"]) - 1) < 1e-2 and len(header["policy"]) == len(header["labels"]) == 7
        assert header["labels"][header["action"][0]] and isinstance(header["value"], float)
        assert header["agent_steps"] == 1000 and header["checkpoint"] == "last"
    games = [header["game"] for header, _ in messages]
    steps = [header["step"] for header, _ in messages]
    assert games[:21] == [1] * 20 + [2] and steps[:21] == [*range(1, 21), 1]  # the next game follows by itself


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has the priority")
def test_a_game_is_played_with_the_lowest_priority_there_is():
    with ThreadPoolExecutor(1, initializer=prepare_player) as pool:
        assert pool.submit(os.sched_getscheduler, 0).result() == os.SCHED_IDLE
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_tile_is_sent_one_picture_for_four_frames(assault_run, serve):
    address = serve(assault_run)
    for words, say in (("run=.&every=4", ()), ("run=.", ("4",))):
        messages = read_messages(address, 2000 if say else 8, words, say, num_frames=1 if say else None)
        header, frames = messages[-1]
        assert len(frames) == 1 and header["frame_s"] == pytest.approx(4 / 60)


def test_a_game_that_is_paused_or_that_nobody_watches_costs_nothing(assault_run, serve, monkeypatch):
    played, play = [], LiveGame.play
    monkeypatch.setattr(LiveGame, "play", lambda game, every: played.append(time.monotonic()) or play(game, every))
    address = serve(assault_run)
    time.sleep(0.3)
    assert not played
    read_messages(address, 3)

    async def rests() -> None:
        """Until nothing has been played for half a second: the step under way may still have been."""
        end = time.monotonic() + 60
        while True:
            before = len(played)
            await asyncio.sleep(0.5)
            if len(played) == before:
                return
            assert time.monotonic() < end, "it plays on"

    asyncio.run(rests())

    async def pause() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{address}/play?token=secret&run=.") as page,
        ):
            await page.receive(60)
            await page.send_str("0")
            await rests()
            before = len(played)
            await page.send_str("1")
            while len(played) < before + 3:
                await page.receive(60)

    asyncio.run(pause())


def test_the_checkpoint_that_is_the_newest_when_a_game_begins_plays_it(assault_run):
    game = LiveGame(assault_run, None)
    said = [header_of(game.play(1)[0])["agent_steps"]]
    new_weights(assault_run, 2000)
    said += [header_of(game.play(1)[0])["agent_steps"]]  # this game goes on as it began
    game.skip()
    said += [header_of(game.play(1)[0])["agent_steps"]]
    (assault_run / "checkpoints" / "last" / MANIFEST).write_text("{")  # it is just being replaced
    game.skip()
    said += [header_of(game.play(1)[0])["agent_steps"]]
    new_weights(assault_run, 3000)
    game.skip()
    said += [header_of(game.play(1)[0])["agent_steps"]]
    assert said == [1000, 1000, 2000, 2000, 3000]
    game.close()


def header_of(message: bytes) -> dict:
    return json.loads(message[4 : 4 + struct.unpack("<I", message[:4])[0]])


def test_a_checkpoint_that_was_named_plays_and_no_newer_one(make_run):
    run = make_run(env=ASSAULT, model=NATURE, checkpoints=("best", "last"))
    for name, steps in ((None, 2000), ("best", 1000)):
        game = LiveGame(run, name)
        assert header_of(game.play(1)[0])["agent_steps"] == steps
        game.close()


def test_a_page_waits_for_the_first_checkpoint_and_says_so(assault_run, serve):
    address, folder = serve(assault_run), assault_run / "checkpoints"
    os.rename(folder, assault_run / "elsewhere")
    note, (header, frames) = read_messages(
        address,
        2,
        on_note=lambda: os.rename(assault_run / "elsewhere", folder),  # once the page was told to wait
    )
    assert "no checkpoint yet" in note["note"] and not note["end"]
    assert header["step"] == 1 and frames.any()


def test_an_environment_without_pictures_has_curves_and_says_why_no_more(make_run, serve):
    run = make_run("Scripted-v0")
    (run / "progress.csv").write_text(HEAD + ROWS)
    with pytest.raises(NoPictures):
        LiveGame(run, None).play(1)
    address = serve(run)
    (note,) = read_messages(address, 1)
    assert note["end"] and "no pictures" in note["note"]
    assert state_of(address)["chosen"]["curves"][0]["values"] == [None, 300.0, 320.0]


@pytest.mark.parametrize("pays", [False, True], ids=["its-end", "its-reward"])
def test_a_game_of_unseeded_chance_is_not_shown_as_the_agent_s(pays, make_run, serve):
    env = {"name": "luck", "id": "tests.environments.own_worlds:Luck-v0", "frameskip": 1, "clip_rewards": False}
    run = make_run(env=env | {"kwargs": {"pays": pays}})
    game = LiveGame(run, None)
    with pytest.raises(NoPictures, match="play another game, so its pictures"):
        for _ in range(200):  # one game ends and the other does not at every second step
            game.play(1)
    game.close()
    if pays:  # at the first step
        (note,) = read_messages(serve(run), 1)
        assert note["end"] and "random numbers from self.np_random" in note["note"]


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_an_environment_of_gymnasium_is_watched_in_its_own_time(make_run, env_id):
    pytest.importorskip("pygame")
    game = LiveGame(make_run(env_id), None)
    message, seconds = game.play(1)
    header = header_of(message)
    assert seconds == pytest.approx({"CartPole-v1": 1 / 50, "Pendulum-v1": 1 / 30}[env_id])
    assert header["shape"][0] == 1 and header["shape"][3] == 3 and len(header["labels"]) == 2
    assert (header["action"] is None) == (env_id == "Pendulum-v1")
    game.close()


def test_pg_has_no_value_that_was_trained(assault_run):
    config = assault_run / "config.yaml"
    config.write_text(config.read_text().replace("name: ppo", "name: pg"))
    game = LiveGame(assault_run, None)
    assert header_of(game.play(1)[0])["value"] is None
    game.close()


@pytest.mark.parametrize("broken", ["prepare_player", "open_live_game"])
def test_a_page_is_told_why_no_game_can_be_opened(broken, assault_run, serve, monkeypatch):
    def fail(*_):
        raise ImportError("no module named cv2")

    monkeypatch.setattr(f"pages.watch_server.{broken}", fail)
    (note,) = read_messages(serve(assault_run), 1)
    assert note["end"] and note["note"]


@pytest.mark.parametrize("missing", [False, True])
def test_a_player_without_the_right_to_a_lower_priority_plays(missing, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.delattr("os.SCHED_IDLE") if missing else monkeypatch.setattr("os.sched_setscheduler", refuse)
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    prepare_player()


def test_so_many_games_are_played_and_no_more(assault_run, serve):
    address = serve(assault_run)

    async def crowd() -> dict:
        async with aiohttp.ClientSession() as session:
            pages = [await session.ws_connect(f"{address}/play?token=secret&run=.") for _ in range(MAX_GAMES + 1)]
            answer = json.loads((await pages[-1].receive(60)).data)
            for page in pages:
                await page.close()
            return answer

    answer = asyncio.run(crowd())
    assert answer["end"] and str(MAX_GAMES) in answer["note"]
    assert read_messages(address, 2)[0][0]["step"] == 1  # they have made room


# What the training says -----------------------------------------------------------------------------------------------


def test_a_new_row_is_shown_and_a_table_that_has_not_grown_is_not_read_again(assault_run, monkeypatch):
    monkeypatch.setattr("pages.watch_curves.MAX_READING_SHARE", 1e9)
    table = WatchCurves(assault_run)
    assert table.read_content()["axes"]["agent_steps"] == [1000, 2000, 3000]
    with monkeypatch.context() as once:
        once.setattr("pages.run_facts.read_progress", None)
        assert table.read_content()["note"] == ""
    with open(assault_run / "progress.csv", "a") as file:
        file.write("4000,8.0,350.0,0.1,530\n")
    row = table.summarize()
    assert (row["agent_steps"], row["score"], row["speed"], row["ys"]) == (4000, 350.0, 530.0, [None, 300, 320, 350])
    assert row["age_s"] < 60


@pytest.mark.parametrize(
    ("stop", "share", "of", "left"),
    [
        ({"agent_steps": 200_000, "time_s": 8.0}, 0.75, "8 s", "2 s"),  # of the time: 6 s of 8 s
        ({"agent_steps": 4000, "time_s": 800.0}, 0.75, "4,000 agent steps", "2 s"),
        ({"agent_steps": 200_000, "time_s": None}, 0.015, "200,000 agent steps", "6 min 34 s"),
        ({"agent_steps": 200_000, "time_s": 6.0}, 1, "6 s", None),
    ],
    ids=str,
)
def test_the_page_agrees_with_the_terminal_on_how_far_a_run_has_come(stop, share, of, left, assault_run):
    config = assault_run / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"stop": stop}))
    progress = WatchCurves(assault_run).summarize()["progress"]
    assert progress["share"] == pytest.approx(share) and of in progress["of"] and progress["left"] == left
    assert ("stop.time_s" in progress["of"]) == (of in ("8 s", "6 s"))
    console, row = (
        Console(file=io.StringIO(), force_terminal=True, width=100),
        {"agent_steps": 3000, "wall_time_s": 6.0},
    )
    display = Display([1], stop["agent_steps"], stop["time_s"], console)
    display.show_row(1, row)
    (bar,) = (line for line in display.draw_progress(80).plain.splitlines() if " left" in line)
    assert f"{progress['share']:.0%} " in bar and (left or "0 s") + " left" in bar


def test_a_damaged_file_that_was_mended_is_read_again(assault_run):
    curves = WatchCurves(assault_run)
    (assault_run / "evaluations.csv").write_text("torn")
    assert "evaluations.csv is damaged" in curves.summarize()["note"]
    (assault_run / "evaluations.csv").unlink()
    curves._next_read = 0.0
    assert curves.summarize()["note"] == "" and curves.summarize()["agent_steps"] == 3000


def test_a_game_whose_environment_failed_once_is_left_and_another_begun(make_run, monkeypatch):
    env = {"name": "own", "id": "tests.environments.own_worlds:Matching-v0", "frameskip": 1, "clip_rewards": False}
    world = importlib.import_module("tests.environments.own_worlds").Matching
    step, calls = world.step, []

    def fail_once(self, action):
        calls.append(action)
        if len(calls) == 4:  # the second step, of the second of the two environments
            raise RuntimeError("once")
        return step(self, action)

    monkeypatch.setattr(world, "step", fail_once)
    game = LiveGame(make_run(env=env, bias=[0.0] * 9), None)
    game.play(1)
    with pytest.raises(EnvironmentFault):
        game.play(1)
    game.play(1)
    assert game.number == 2
    game.close()


def test_reading_a_table_again_takes_a_fiftieth_of_the_time_at_most(assault_run, monkeypatch):
    clock, reads = [100.0], []
    monkeypatch.setattr("pages.watch_curves.time.monotonic", lambda: clock[0])

    def slow(*_):
        reads.append(clock[0])
        clock[0] += 1.0
        return {"axes": {"agent_steps": [], "wall_time_s": []}, "curves": [], "lines": []}

    monkeypatch.setattr("pages.run_facts.read_curves", slow)
    table = WatchCurves(assault_run)
    while clock[0] < 1000:
        with open(assault_run / "progress.csv", "a") as file:
            file.write("\n")
        table.read_content()
        clock[0] += 3
    assert 15 < len(reads) <= 19  # of a second each, in 900


def test_a_run_that_has_reported_nothing_or_was_taken_away_is_said(assault_run, serve, monkeypatch):
    monkeypatch.setattr("pages.watch_curves.MAX_READING_SHARE", 1.0)
    (assault_run / "progress.csv").unlink()
    address = serve(assault_run)
    row = state_of(address)["runs"]["."]
    assert row["agent_steps"] is None and row["note"] == ""
    (assault_run / "progress.csv").write_text("agent_steps\nx\n")
    end = time.monotonic() + 60
    while "damaged" not in state_of(address)["runs"]["."]["note"]:
        assert time.monotonic() < end
        time.sleep(0.1)
    os.rename(assault_run, f"{assault_run}_gone")
    assert state_of(address)["runs"] == {}


def test_the_seeds_of_a_run_and_the_trials_of_a_search_are_on_one_wall(make_run, serve):
    for name in ("seeds/seed_2", "seeds/seed_10", "hunt/trials/0001", "hunt/trials/0000", "hunt/fresh/default/seed_3"):
        (make_run("CartPole-v1", name=name) / "progress.csv").write_text(HEAD + ROWS)
    folder = make_run("CartPole-v1", name="one").parent
    for name in ("hunt", "hunt/fresh/default"):
        (folder / name / "config.yaml").write_text((folder / "one" / "config.yaml").read_text())
    state = state_of(serve(folder / "seeds"), "seed_2")
    assert list(state["runs"]) == ["seed_2", "seed_10"] and not state["search"] and state["chosen"]["curves"]
    assert state["title"] == "PPO on CartPole"
    state = state_of(serve(folder / "hunt"), "nothing")
    assert list(state["runs"]) == ["trials/0000", "trials/0001", "fresh/default/seed_3"]
    assert state["search"] and state["chosen"] is None
    assert state["runs"]["trials/0001"]["score"] == 320


def test_whether_a_process_trains_the_run_is_said_on_the_page_and_in_the_terminal(make_run, serve, monkeypatch, capsys):
    for name in ("run", "run/seed_1", "run/seed_2"):
        (make_run("CartPole-v1", name=name) / "progress.csv").write_text(HEAD + ROWS)
    run = make_run("CartPole-v1", name="other").parent / "run"
    (run / STARTS).write_text('{"starts": []}')
    monkeypatch.setattr("pages.watch.serve_browsers", lambda *_: None)
    monkeypatch.setattr("pages.watch.asyncio.run", lambda _: None)
    monkeypatch.setattr("pages.watch.os.nice", lambda _: None)
    address = serve(run)
    assert state_of(address)["training"] is False, "nobody has trained it: there is no lock"
    with lock_folder(run):
        assert state_of(address)["training"] is True and is_training(run / "seed_2")
        assert watch(run) == 0 and "the run goes on" in capsys.readouterr().out
    assert state_of(address)["training"] is False and not is_training(run / "seed_2")
    assert watch(run) == 0
    said = capsys.readouterr().out
    assert "no process trains this run now" in said and "the run goes on" not in said
    with lock_folder(run):
        pass  # who looks whether the lock is free does not keep it


# In a browser ---------------------------------------------------------------------------------------------------------

UNTIL = """
const $ = id => document.getElementById(id), said = {};
const until = async (what, done, s = 60) => {
  for (let i = 0; i < 10 * s && !done(); i++) await later(100);
  said[what] = !!done();
};
const pixels = canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
const bright = () => pixels($('screen')).some((v, i) => i % 4 < 3 && v > 100);
const picture = () => pixels($('screen')).join();
"""
LOOK = (
    UNTIL
    + """
await until('plays', bright);
const first = picture();
await until('moves', () => picture() != first);
await until('policy', () => $('policy').querySelectorAll('.bar').length == 7 && $('policy').querySelector('.taken'));
said.bars = [...document.querySelectorAll('#policy i')].reduce((sum, e) => sum + parseFloat(e.style.width), 0);
const number = () => $('game').textContent.split(',')[0], game = number();
said.agent = $('agent').textContent; said.game = $('game').textContent;
await until('curves', () => document.querySelectorAll('#wide path, #charts path').length >= 3);
said.status = $('status').textContent; said.share = $('share').textContent; said.bar = $('budget').value;
$('speeds').querySelector('[data-speed="0"]').click();
let still;
for (let i = 0; i < 30 && !said.paused; i++) { still = picture(); await later(700); said.paused = picture() == still; }
const fast = $('speeds').querySelector('[data-speed="4"]');
fast.focus(); fast.dispatchEvent(new MouseEvent('click', { bubbles: true, detail: 1 }));
said.blurred = document.activeElement != fast;
await until('goes_on', () => picture() != still);
await until('next_game', () => number() != game);
said.fits = document.documentElement.scrollWidth <= innerWidth;
said.trouble = $('trouble').textContent + $('note').textContent;
said.fetched = performance.getEntriesByType('resource').filter(e => !e.name.startsWith(location.origin)).length;
return said;
"""
)


@pytest.mark.skipif(CHROMIUM is None, reason=NONE)
def test_a_browser_shows_the_game_the_policy_and_the_curves(assault_run, serve, tmp_path):
    config = assault_run / "config.yaml"
    stop = {"agent_steps": 200_000, "time_s": 8.0}
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"stop": stop}))
    with lock_folder(assault_run):  # as the training holds it
        said = run_in_browser(f"{serve(assault_run)}/?token=secret", LOOK, tmp_path, width=500)
    for what in ("plays", "moves", "policy", "curves", "paused", "blurred", "goes_on", "next_game", "fits"):
        assert said[what], (what, said)
    assert 97 < said["bars"] < 103 and said["trouble"] == "" and said["fetched"] == 0
    assert "1,000 agent steps" in said["agent"] and re.match(r"game \d+, agent step ", said["game"])
    numbers = re.findall(r"[\d,]*\d", said["status"])
    assert numbers[:4] == ["3,000", "200,000", "320", "520"]  # steps, budget, score, steps per second
    assert ", 2 s left" in said["status"] and said["bar"] == 0.75
    assert said["share"].startswith("75 % of the 8 s ") and "stop.time_s" in said["share"]


STATUS = UNTIL + "await until('row', () => $('status').textContent.includes('3,000')); return $('status').textContent;"


@pytest.mark.skipif(CHROMIUM is None, reason=NONE)
def test_a_browser_shows_that_no_process_trains_the_run_and_no_time_left(assault_run, serve, tmp_path):
    config = assault_run / "config.yaml"
    for budget, end in {200_000: f"resume={assault_run} continues it.", 3000: "The run has ended."}.items():
        config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"stop": {"agent_steps": budget}}))
        (folder := tmp_path / str(budget)).mkdir()
        status = run_in_browser(f"{serve(assault_run)}/?token=secret", STATUS, folder)
        assert status.endswith(end) and " left" not in status, status


WALL = (
    UNTIL
    + """
await until('two', () => document.querySelectorAll('.tile').length == 2);
const painted = canvas => pixels(canvas).some((v, i) => i % 4 < 3 && v > 100);
await until('both', () => [...document.querySelectorAll('.tile canvas')].every(painted));
await until('curves', () => [...document.querySelectorAll('.tile svg')].every(e => e.querySelector('path')));
said.names = [...document.querySelectorAll('.tile b')].map(e => e.textContent);
document.querySelectorAll('.tile')[1].click();
await until('chosen', () => $('status').textContent.startsWith('seed 2: '));
await until('plays', () => $('agent').textContent != '');
return said;
"""
)


@pytest.mark.end_to_end
@pytest.mark.skipif(CHROMIUM is None, reason=NONE)
def test_a_browser_shows_two_seeds_side_by_side(make_run, serve, tmp_path):
    for seed in (1, 2):
        run = make_run(name=f"seeds/seed_{seed}", seed=seed, env=ASSAULT, model=NATURE)
        (run / "progress.csv").write_text(HEAD + ROWS)
    said = run_in_browser(f"{serve(run.parent)}/?token=secret", WALL, tmp_path)
    assert said.pop("names") == ["seed 1", "seed 2"]
    assert all(said.values()) and len(said) == 5, said


# As it is typed -------------------------------------------------------------------------------------------------------


def type_watch(run: Path, *words: str) -> tuple[subprocess.Popen, str, list[str]]:
    """Start it as a user does; returns the process, the address and what it has printed."""
    line = [sys.executable, str(ROOT / "run.py"), "command=watch", f"run={run}", *words]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, start_new_session=True)
    printed = [process.stdout.readline() for _ in range(3)]
    (address,) = re.findall(r"http://127\.0\.0\.1:\d+/\?token=\S+", printed[0])
    return process, address, printed


@pytest.mark.end_to_end
def test_ctrl_c_ends_it_at_once_with_exit_code_0(assault_run):
    process, address, printed = type_watch(assault_run)
    try:
        port = address.split(":")[2].split("/")[0]
        assert f"ssh -L {port}:127.0.0.1:{port} " in printed[1] and socket.gethostname() in printed[1]
        assert len(address.split("token=")[1]) >= 20
        assert requests.get(address, timeout=60).status_code == 200
        if sys.platform == "linux":
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        with requests.get(address.replace("/?", "/state?"), timeout=60) as answer:
            assert answer.json()["runs"]["."]["score"] == 320
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()


TRAINING = (
    UNTIL
    + """
await until('curve', () => document.querySelectorAll('#wide path').length == 1, 200);
await until('plays', bright, 200);
const first = picture(), steps = () => +$('status').textContent.split(' ')[0].replace(/,/g, '');
await until('moves', () => picture() != first);
const then = steps();
await until('grows', () => steps() > then, 200);
const agent = $('agent').textContent;
await until('learns', () => { $('speeds').lastChild.click(); return $('agent').textContent != agent; }, 200);
said.policy = document.querySelectorAll('#policy .bar').length;
return said;
"""
)


@pytest.mark.end_to_end
@pytest.mark.skipif(CHROMIUM is None, reason=NONE)
def test_a_browser_shows_a_run_while_it_trains(tmp_path):
    """From before its first row: curves grow, the game moves, and newer checkpoints take over."""
    words = ["env=assault", "algo.num_envs=4", "algo.horizon=32", "algo.minibatch_size=64", "algo.num_epochs=1"]
    words += ["cluster.cpus=1", "report_every=200", "checkpoint_every_s=2", f"output_dir={tmp_path / 'outputs'}"]
    line = [sys.executable, str(ROOT / "run.py"), *words]
    with open(tmp_path / "log", "w") as log:
        training = subprocess.Popen(line, stdout=log, stderr=log, start_new_session=True, cwd=ROOT)
    watching = None
    try:
        end = time.monotonic() + 200
        while not (found := [*tmp_path.glob("outputs/ppo/assault/*/config.yaml")]):
            assert training.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.2)
        watching, address, _ = type_watch(found[0].parent)
        said = run_in_browser(address, TRAINING, tmp_path)
        assert said.pop("policy") == 7 and all(said.values()) and len(said) == 5, said
        assert training.poll() is None, (tmp_path / "log").read_text()
    finally:
        for process in filter(None, (watching, training)):
            process.send_signal(signal.SIGINT)
            process.wait(120)
