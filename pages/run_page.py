"""The page of a run: what was trained, how it learned, and one game with what the agent thought at every step.

    run directory -> progress.csv, evaluations, milestones -> games played now -> page.html

The page holds everything itself and asks no network for anything; run_page.html draws it from the data that is put into
it here. Games are played anew, each from the seed of the run, and proven like recordings.
"""

import base64
import json
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from rich.console import Console

from environments.games import Games
from environments.passwords import mask
from evidence.curves import SCORE, thin
from evidence.evaluate import (
    DEFAULT_EPISODES,
    Evaluation,
    GamesDisplay,
    load_agent,
    model_of,
    open_games,
)
from evidence.human import random_score, references
from evidence.publication import AGENT
from pages.templates import read_template
from recordings.recording import play_replays
from recordings.replay import Replay
from recordings.replayed_game import Environment, open_game
from recordings.saliency import Sight, look_again
from recordings.video import Shot, shots_of, write_video
from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.files import read_json
from run_directory.layout import evaluation_path
from run_directory.milestones import find_milestones
from run_directory.progress_table import NoRows, read_progress
from run_directory.saved_settings import read_run_settings
from run_directory.starts import find_starts
from run_directory.writing import explain_unwritable, save_file
from settings.mistakes import Mistake, counted
from settings.protocols import describe

PAGE = "page.html"
LONGEST_FRAMES, CLIP_FRAMES = 18_000, 1_200  # of the game with thoughts, five minutes; of a clip, 20 seconds
ANALYSED = 600  # agent steps at which the page says where the agent looks, at most
CLIP_FPS = 30
COLUMNS = ("agent_steps", "wall_time_s", SCORE)
CURVES = {  # columns of progress.csv -> what the page calls them
    SCORE: "score, the mean of the last 100 games",
    "policy_loss": "policy loss",
    "value_loss": "value loss",
    "entropy": "entropy of the policy, in nats",
    "approx_kl": "KL divergence of an update",
    "explained_variance": "explained variance of the values",
    "agent_steps_per_s": "agent steps per second",
}


def write_page(run: Path, checkpoint: str | None = None, console: Console | None = None) -> Path:
    """Write page.html of a run of one seed; one that is there is replaced.

    Args:
        run: the run directory.
        checkpoint: that plays the game, as in `evaluate`; None takes the best.
        console: where progress goes.

    Returns:
        The file.

    Raises:
        Mistake: no such run or checkpoint, or nothing can be written there.
        OSError: the page could not be written.
        Differs: a game that was played again is not the one that was played.
    """
    page = run / PAGE
    if why := explain_unwritable(page):
        raise Mistake(f"run={run}: no page can be written in it ({why}); copy it, and make the page of the copy")
    best = find_checkpoint(run, checkpoint)
    settings = read_run_settings(run)
    torch.set_num_threads(1)  # one game is a small batch: threads would mostly wait for each other
    content: dict[str, Any] = head_of(settings, run, best) | curves_of(settings, run) | origin_of(settings, run)
    content |= {"clips": [], "game": None, "clips_how": ""}
    if can_be_drawn(settings["env"]):
        points = find_milestones(run)
        with GamesDisplay(len(points) + 1, console) as display, tempfile.TemporaryDirectory() as folder:
            display.begin("the page")
            content["clips"] = [clip_of(run, point, settings, display, Path(folder)) for point in points]
            content["game"] = game_of(run, best, display, Path(folder))
        content["clips_how"] = "The first 20 seconds of a game, from the same start, after more and more training."
    text = json.dumps(content, allow_nan=False).replace("</", "<\\/")
    if why := save_file(page, read_template("run_page.html").replace("__DATA__", text)):
        raise OSError(why)
    return page


def can_be_drawn(env: dict) -> bool:
    """Return whether an environment has pictures."""
    try:
        if "id" in env:
            Environment(env, 0, pictures=True).close()
    except Mistake:
        return False
    return True


# What was trained -----------------------------------------------------------------------------------------------------


def head_of(settings: dict, run: Path, checkpoint: Path) -> dict[str, Any]:
    """Return the title, the score and what it is of."""
    env, budget = settings["env"], settings.get("stop", {}).get("agent_steps")
    progress = read_totals(checkpoint)
    steps = progress.get("agent_steps")
    facts = [
        f"Protocol {describe(env)}, seed {settings['seed']}, model {settings['model']['torso']}"
        + (f" with an LSTM of {settings['model']['lstm_size']}" if settings["model"].get("lstm_size") else "")
        + (f"; trained for {steps:,} agent steps" if isinstance(steps, int) else "")
        + (f" of {budget:,}." if isinstance(budget, int) else "."),
    ]
    if random := random_score(env):
        facts.append(f"Random play scores {random.source}.")
    if known := references(env):
        facts.append("Humans score " + ", ".join(f"{one.human:,g} ({one.table})" for one in known) + ".")
    return {
        "title": title_of(settings),
        "score": score_of(run, checkpoint, progress),
        "facts": facts,
    }


def title_of(settings: dict) -> str:
    """Return what a run trains: `PPO on Ms pacman`."""
    return f"{settings['algo']['name'].upper()} on {settings['env']['name'].replace('_', ' ').capitalize()}"


def score_of(run: Path, checkpoint: Path, progress: dict[str, Any]) -> dict[str, Any]:
    """Return the score of a checkpoint with its interval: of an evaluation, or else of the last games of training."""
    path = evaluation_path(run, checkpoint.name)
    result = read_json(path, dict) if path.is_file() else published(run).get("evaluation")
    if isinstance(result, dict):
        for way in ("stochastic", "greedy"):
            if isinstance(found := result.get(way), dict):
                low, high = found["iqm_interval"]
                how = f"the mean of {counted(result['episodes'], 'full game')}, {way}; their interquartile mean is "
                return {
                    "mean": found["mean"],
                    "how": f"{how}{found['iqm']:,.1f}, 95 % interval {low:,.1f} to {high:,.1f}",
                }
    mean = progress.get("episode_return_mean")
    mean = mean if isinstance(mean, int | float) and np.isfinite(mean) else None
    return {
        "mean": mean,
        "how": f"the mean of the last 100 games of training; command=evaluate plays {DEFAULT_EPISODES} for an interval",
    }


def published(run: Path) -> dict[str, Any]:
    """Return what agent.json says of a published agent; nothing where the directory is a run."""
    return read_json(run / AGENT, dict) if (run / AGENT).is_file() else {}


def curves_of(settings: dict, run: Path) -> dict[str, Any]:
    """Return the columns of progress.csv that the page draws, thinned, and what scores are compared with."""
    try:
        progress = read_progress(run, COLUMNS, [name for name in CURVES if name not in COLUMNS])
    except NoRows:
        return {"axes": {"agent_steps": [], "wall_time_s": []}, "curves": [], "lines": []}
    rows = thin(len(progress["agent_steps"]))
    axes = {name: progress[name][rows].tolist() for name in ("agent_steps", "wall_time_s")}
    curves = [
        {"name": name, "values": [float(f"{y:.5g}") if np.isfinite(y) else None for y in progress[column][rows]]}
        for column, name in CURVES.items()
        if column in progress
    ]
    random, scores = random_score(settings["env"]), progress[SCORE][np.isfinite(progress[SCORE])]
    lines = [{"name": f"random play {random.score:g}", "score": random.score}] if random else []
    for one in references(settings["env"]):
        if len(scores) and one.human < 2 * scores.max():
            lines.append({"name": f"human {one.human:g} ({one.table})", "score": one.human})
    return {"axes": axes, "curves": curves, "lines": lines}


def origin_of(settings: dict, run: Path) -> dict[str, Any]:
    """Return the commands, commits and machines of a run, and its settings."""
    starts = []
    for start in mask(find_starts(run) or published(run).get("starts", [])):
        git = start.get("git") or {"commit": "no git checkout", "dirty": False}
        command = start["command"] if isinstance(start["command"], str) else shlex.join(start["command"])
        commit = git["commit"] + (", changed" if git["dirty"] else "")
        facts = {"commit": commit} | start["hardware"] | start["packages"]
        starts.append(f"{command}\n\n" + ", ".join(f"{name} {value}" for name, value in facts.items()))
    return {
        "starts": list(dict.fromkeys(starts)) or ["not recorded"],
        "settings": yaml.safe_dump(mask(settings), sort_keys=False),
        "made": f"This page was made on {time.strftime('%Y-%m-%d')} by python run.py command=page run=<this run>.",
    }


# Games ----------------------------------------------------------------------------------------------------------------


def clip_of(run: Path, checkpoint: Path, settings: dict, display: GamesDisplay, folder: Path) -> dict[str, str]:
    """Play the beginning of a game with the weights of a milestone, and film it."""
    agent = agent_of(run, checkpoint, CLIP_FRAMES)
    (replay,) = play_replays(agent, 1, greedy=False, display=display)
    game = open_game(replay)
    every = max(1, round(game.fps / CLIP_FPS))
    video = video_of(
        shots_of(replay, game, every, lambda: None), Fraction(game.fps).limit_denominator(1000) / every, folder
    )
    game.close()
    progress = read_totals(checkpoint)
    steps, score = progress.get("agent_steps", 0), progress.get("episode_return_mean")
    known = isinstance(score, int | float) and np.isfinite(score)
    text = f"mean score then {score:,.1f}" if known else "before any game had ended"
    return {"name": f"{steps:,} agent steps", "text": text, "video": video}


def agent_of(run: Path, checkpoint: Path, most_frames: int) -> Evaluation:
    """Return the agent of a checkpoint, whose games of ALE end after so many frames."""
    env = read_run_settings(run)["env"]
    rules = {"max_episode_frames": min(most_frames, env["max_episode_frames"])} if "game" in env else {}
    return Evaluation(run, checkpoint, 1, ["stochastic"], None, rules)


def game_of(run: Path, checkpoint: Path, display: GamesDisplay, folder: Path) -> dict[str, Any]:
    """Play a game, and return its film, what the agent thought at each of T steps, what it saw and where it looked."""
    agent = agent_of(run, checkpoint, LONGEST_FRAMES)
    (replay,) = play_replays(agent, 1, greedy=False, display=display)
    steps = len(replay.actions)
    game = open_game(replay)
    every = replay.env["frameskip"] if "game" in replay.env else 1
    fps = game.fps / every
    film = video_of(pictures_before(replay, game, every), Fraction(fps).limit_denominator(1000), folder)
    game.close()
    labels, how = labels_of(replay)
    cut = f", cut after {counted(steps, 'agent step')}" if replay.cut else ""
    is_distribution = replay.policy_kind == "probabilities"
    content = {
        "how": f"Score {replay.score:,g}{cut}. Space plays and pauses, the arrow keys go one agent step or one second.",
        "fps": fps,
        "steps": steps,
        "video": film,
        "labels": labels,
        "policy_kind": replay.policy_kind,
        "policy_how": how,
        "policy": packed((replay.policy * 255).round().astype(np.uint8) if is_distribution else replay.policy),
        "actions": packed(replay.actions.astype(np.uint8) if replay.actions.ndim == 1 else np.zeros(steps, np.uint8)),
        "decided": packed(replay.decided.astype(np.uint8)),
        "rewards": packed(replay.rewards),
        "values": packed(replay.values),
        "entropy": packed(replay.entropy),
        "sees": None,
        "importance": None,
    }
    if sight := sight_of(agent, replay):
        content["sees"] = {
            "video": video_of(strips_of(sight), Fraction(fps).limit_denominator(1000), folder),
            "dim": sight.frames.shape[1],
            "stack": sight.stack,
            "every": sight.every,
            "how": f"What the network sees: its last {sight.stack} frames, {sight.frames.shape[1]} pixels wide",
            "looks_how": "Where it looks: hiding an orange part would change the policy, the stronger the more "
            f"(occlusion, every {counted(sight.every, 'agent step')})",
        }
        if sight.importance is not None:
            content["importance"] = packed((sight.importance * 255).round().astype(np.uint8))
    return content


def sight_of(agent: Evaluation, replay: Replay) -> Sight | None:
    """Let the agent see its game once more; None where its environment has no pixels."""
    games: Games = open_games(agent.run, agent.env, 1)
    try:
        network = load_agent(agent.checkpoint, model_of(agent.settings), agent.env, games, agent.settings["algo"])
        return look_again(network, games, replay, every=max(4, -(-len(replay.actions) // ANALYSED)))
    finally:
        games.close()


def labels_of(replay: Replay) -> tuple[list[str], str]:
    """Return the names of what stands in `policy`, and what its bars mean."""
    width = replay.policy.shape[1]
    if replay.policy_kind == "gaussian":
        half = width // 2
        names = [f"{what} {i + 1}" for what in ("mean", "deviation") for i in range(half)]
        return names, "The policy before this step: a normal distribution for each part of the action"
    names = [name.lower().replace("_", " ") for name in replay.action_names] or [f"action {i}" for i in range(width)]
    if replay.policy_kind == "q_values":
        return names, "What each action would bring, as the network expects before this step; orange was played"
    return names, "The policy before this step, in per cent; orange was drawn from it"


def pictures_before(replay: Replay, game: Any, every: int) -> Iterator[Shot]:
    """Yield for each agent step what was on the screen before it; the game is played to its end, and so proven."""
    nothing = np.empty(0, np.uint8)
    shots = chain([Shot(game.screen(), nothing)], shots_of(replay, game, every, lambda: None))
    for step, shot in enumerate(shots):
        if step < len(replay.actions):
            yield shot


def strips_of(sight: Sight) -> Iterator[Shot]:
    """Yield for each agent step the frames of the stack side by side, the oldest on the left."""
    pictures = sight.frames if sight.frames.ndim == 4 else np.repeat(sight.frames[..., None], 3, axis=-1)
    before = np.zeros((sight.stack - 1, *pictures.shape[1:]), np.uint8)
    padded = np.concatenate([before, pictures])
    for step in range(len(pictures)):
        yield Shot(np.concatenate(padded[step : step + sight.stack], axis=1), np.empty(0, np.uint8))


def video_of(shots: Iterable[Shot], rate: Fraction, folder: Path) -> str:
    """Return pictures as an mp4 in a data URI; every second begins with a whole picture, so that one can jump."""
    path = folder / "video.mp4"
    write_video(path, iter(shots), rate, 1, "mp4", sound=False, key_every=max(1, round(rate)))
    return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()


def packed(array: np.ndarray | None) -> dict[str, Any] | None:
    """Return an array for the page: uint8 as it is, anything else as float32."""
    if array is None:
        return None
    array = array if array.dtype == np.uint8 else array.astype(np.float32)
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"type": array.dtype.name, "shape": list(array.shape), "data": data}
