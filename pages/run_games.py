"""Games for the page of a run: they are played now, played again from their actions, and filmed.

    milestones, last checkpoint -> choose_clips -> film_clip -> the first 20 seconds of a game
    checkpoint -> film_game -> one game, with the policy, the values and the saliency of every agent step

Each game begins from the seed of the run.
"""

import base64
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from environments.screen import format_score
from evidence.curves import SCORE
from playing.agent import Agent
from playing.games_display import GamesDisplay
from playing.saved_settings import read_run_settings
from recordings.recording import play_replays
from recordings.replay import Replay, label_policy, list_played
from recordings.replayed_game import open_game
from recordings.saliency import Saliency, measure_saliency
from recordings.video import iterate_pictures
from recordings.video_file import Picture, write_video
from run_directory.checkpoints import read_totals
from run_directory.layout import checkpoint_path
from run_directory.manifest import find_damage
from run_directory.milestones import find_milestones
from settings.mistakes import format_count

GAME_FRAMES, CLIP_FRAMES = 18_000, 1_200  # at most: five minutes of the game, 20 seconds of a clip
MAX_ANALYSED_STEPS = 600  # agent steps of the game for which saliency is measured
CLIP_FPS, CLIP_SECONDS = 30, 20
SILENCE = np.empty(0, np.uint8)


def choose_clips(run: Path) -> list[Path]:
    """Return the checkpoints whose games show how a run learned, in the order of their agent steps.

    They are its milestones, and its last checkpoint, because a run that ends before its budget is used up has no last
    milestone. Of several with the same agent steps only the first is chosen.

    Raises:
        Mistake: a milestone is damaged; a damaged last checkpoint is left out.
    """
    milestones, last = find_milestones(run), checkpoint_path(run, "last")
    if milestones and last.is_dir() and find_damage(last, to_play=True) is None:
        milestones.append(last)
    chosen: dict[int, Path] = {}
    for folder in milestones:
        chosen.setdefault(int(read_totals(folder).get("agent_steps", 0)), folder)
    return list(chosen.values())


def film_clip(run: Path, milestone: Path, display: GamesDisplay, folder: Path) -> dict[str, str]:
    """Play the beginning of a game with the weights of a milestone, or of another checkpoint, and film it.

    Args:
        run: the run directory.
        milestone: the folder of the milestone.
        display: where progress is shown.
        folder: a folder for temporary files.

    Returns:
        `name`, the agent steps of the weights; `text`, the training score at that time; `video`, a data URI.
    """
    agent = make_agent(run, milestone, CLIP_FRAMES)
    (replay,) = play_replays(agent, 1, greedy=False, display=display)
    game = open_game(replay)
    every = max(1, round(game.fps / CLIP_FPS))
    rate = Fraction(game.fps).limit_denominator(1000) / every
    # A game that is not ALE's was played to its end.
    pictures = islice(iterate_pictures(replay, game, every), round(CLIP_SECONDS * rate))
    video = encode_video(pictures, rate, folder)
    game.close()
    totals = agent.totals  # of the weights that have played; a training may have replaced the checkpoint since
    steps, score = totals.get("agent_steps", 0), totals.get(SCORE)
    text = "before any game had ended"
    if isinstance(score, int | float) and np.isfinite(score):
        text = f"mean score then {format_score(score)}"
    return {"name": f"{steps:,} agent steps", "text": text, "video": video}


def make_agent(run: Path, checkpoint: Path, max_frames: int) -> Agent:
    """Return the agent of a checkpoint; its games of ALE are cut after `max_frames` frames."""
    env = read_run_settings(run)["env"]
    rules = {"max_episode_frames": min(max_frames, env["max_episode_frames"])} if "game" in env else {}
    return Agent(run, checkpoint, None, rules)


def film_game(run: Path, checkpoint: Path, display: GamesDisplay, folder: Path) -> dict[str, Any]:
    """Play a game with the weights of a checkpoint, and film it.

    Args:
        run: the run directory.
        checkpoint: the folder of the checkpoint.
        display: where progress is shown.
        folder: a folder for temporary files.

    Returns:
        The data of the game for the page: its video, and for each agent step the policy, action, reward, value and
        entropy, the frames that the network saw, and the importance of their parts.
    """
    agent = make_agent(run, checkpoint, GAME_FRAMES)
    (replay,) = play_replays(agent, 1, greedy=False, display=display)
    steps = len(replay.actions)
    game = open_game(replay)
    every = replay.env["frameskip"] if "game" in replay.env else 1
    fps = game.fps / every
    video = encode_video(show_step_starts(replay, game, every), Fraction(fps).limit_denominator(1000), folder)
    game.close()
    labels, how = label_policy(replay)
    cut = f", cut after {format_count(steps, 'agent step')}" if replay.cut else ""
    is_distribution, played = replay.policy_kind == "probabilities", list_played(replay.actions, replay.factors)
    content = {
        "how": f"Score {replay.score:,g}{cut}. Space plays and pauses, the arrow keys go one agent step or one second.",
        "fps": fps,
        "steps": steps,
        "video": video,
        "labels": labels,
        "policy_kind": replay.policy_kind,
        "policy_how": how,
        "policy": encode_array((replay.policy * 255).round().astype(np.uint8) if is_distribution else replay.policy),
        "actions": encode_array(played),  # [steps, factors], places in the policy
        "decided": encode_array(replay.decided.astype(np.uint8)),
        "rewards": encode_array(replay.rewards),
        "values": encode_array(replay.values),
        "entropy": encode_array(replay.entropy),
        "sees": None,
        "importance": None,
    }
    if sight := measure_frame_saliency(agent, replay):
        content["sees"] = {
            "video": encode_video(show_frame_stacks(sight), Fraction(fps).limit_denominator(1000), folder),
            "width": sight.frames.shape[2],
            "height": sight.frames.shape[1],
            "stack": sight.stack,
            "every": sight.every,
            "how": f"What the network sees: its last {format_count(sight.stack, 'frame')}, "
            f"{sight.frames.shape[2]} pixels wide",
            "looks_how": "Where it looks: hiding an orange part would change the policy, the stronger the more "
            f"(occlusion, every {format_count(sight.every, 'agent step')})",
        }
        if sight.importance is not None:
            content["importance"] = encode_array((sight.importance * 255).round().astype(np.uint8))
    return content


def measure_frame_saliency(agent: Agent, replay: Replay) -> Saliency | None:
    """Return the frames that the agent saw in its game, and their saliency; None if the environment has no pixels."""
    games = agent.open_games(1)
    try:
        every = max(4, -(-len(replay.actions) // MAX_ANALYSED_STEPS))
        return measure_saliency(agent.load_network(games), games, replay, every)
    finally:
        games.close()


def show_step_starts(replay: Replay, game: Any, every: int) -> Iterator[Picture]:
    """Yield the picture before each agent step.

    The game is played to its end, so that `replay_game` compares all of it with the recording.
    """
    pictures = chain([Picture(game.read_screen(), SILENCE)], iterate_pictures(replay, game, every))
    for step, picture in enumerate(pictures):
        if step < len(replay.actions):
            yield picture


def show_frame_stacks(sight: Saliency) -> Iterator[Picture]:
    """Yield one picture for each agent step: the frames of the stack side by side, the oldest on the left."""
    pictures = sight.frames if sight.frames.ndim == 4 else np.repeat(sight.frames[..., None], 3, axis=-1)
    before = np.zeros((sight.stack - 1, *pictures.shape[1:]), np.uint8)
    padded = np.concatenate([before, pictures])
    for step in range(len(pictures)):
        yield Picture(np.concatenate(padded[step : step + sight.stack], axis=1), SILENCE)


def encode_video(pictures: Iterable[Picture], rate: Fraction, folder: Path) -> str:
    """Return pictures as an mp4 in a data URI, with a key frame every second to which the page can jump."""
    path = folder / "video.mp4"
    write_video(path, iter(pictures), rate, 1, "mp4", sound=False, key_every=max(1, round(rate)))
    return "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()


def encode_array(array: np.ndarray | None) -> dict[str, Any] | None:
    """Return an array as base64 with its type and shape; any type other than uint8 becomes float32. None stays None."""
    if array is None:
        return None
    array = array if array.dtype == np.uint8 else array.astype(np.float32)
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"type": array.dtype.name, "shape": list(array.shape), "data": data}
