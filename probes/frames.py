"""Probes of pictures: those of ALE's vector environment beside gymnasium's AtariPreprocessing, and their stacks."""

from typing import Any

import ale_py
import cv2
import numpy as np
from gymnasium.wrappers import AtariPreprocessing

from probes.probe import Finding, Untested, judge, probe
from probes.subject import Subject
from rollouts.rollout import Rollout

STEPS = 300  # agent steps that are compared
AREA = "baselines and CleanRL: WarpFrame, cv2.INTER_AREA; SB3 the same"


def open_gymnasium(subject: Subject) -> AtariPreprocessing:
    """Return the game behind gymnasium's wrapper, without random no-ops and sticky actions."""
    env = subject.env
    game = ale_py.AtariEnv(
        env["game"], frameskip=1, repeat_action_probability=0.0, full_action_space=env["full_action_space"]
    )
    size = {"frame_skip": env["frameskip"], "screen_size": env["dim"]}
    return AtariPreprocessing(game, noop_max=0, grayscale_obs=env["grayscale"], **size)


def play_beside_gymnasium(subject: Subject) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Play the same random actions here and in gymnasium; returns the pictures of both, and the frames played here."""
    plain = {"noop_max": 0, "fire_reset": False, "fire_on_life_loss": False, "sticky": 0.0}
    games: Any = subject.open_games(1, **plain)  # AtariGames, which count their emulator's frames
    other, rng = open_gymnasium(subject), np.random.default_rng(2)
    ours, theirs, frames = [games.layout.to_pixels(games.reset(1)[0])], [other.reset(seed=1)[0]], 0
    for _ in range(STEPS):
        action = int(rng.integers(subject.count_actions()))
        step, (picture, _, terminated, truncated, _) = games.step(np.array([action])), other.step(action)
        if terminated or truncated or step.finished[0]:
            break
        ours.append(games.layout.to_pixels(step.obs[0]))
        theirs.append(picture)
        frames = int(games._frame_number[0])
    games.close()
    return ours, theirs, frames


@probe(
    "frames",
    "environments/games.py: AtariGames",
    AREA,
    {"atari"},
)
def compare_pictures(subject: Subject) -> Finding:
    """Pictures equal those of gymnasium's AtariPreprocessing, pixel by pixel."""
    ours, theirs, _ = play_beside_gymnasium(subject)
    worst = max(int(np.abs(a.astype(int) - b.astype(int)).max()) for a, b in zip(ours, theirs, strict=True))
    shape = " x ".join(map(str, ours[0].shape))
    return judge(worst == 0, f"{len(ours)} pictures of {shape}, largest difference {worst} of 255")


@probe(
    "frames",
    "environments/games.py: AtariGames",
    "all: 4 (Mnih et al. 2015)",
    {"atari"},
)
def count_frames(subject: Subject) -> Finding:
    """An agent step lasts `frameskip` emulator frames."""
    ours, _, frames = play_beside_gymnasium(subject)
    per_step = frames / max(1, len(ours) - 1)
    skip = subject.env["frameskip"]
    return judge(
        frames == skip * (len(ours) - 1),
        f"{len(ours) - 1} agent steps end at frame {frames:,}: {per_step:.2f} per step",
    )


@probe(
    "frames",
    "environments/games.py: AtariGames",
    "Mnih et al. 2015, baselines, SB3, CleanRL: the same",
    {"atari"},
)
def compare_maximum(subject: Subject) -> Finding:
    """A picture is the maximum of the last two frames, because sprites flicker."""
    if not subject.env["grayscale"]:
        raise Untested("pictures are in colour; the comparison with gymnasium shows it")
    if subject.env["frameskip"] == 1:
        raise Untested("an agent step lasts one frame, so there is nothing to maximise")
    plain = {"noop_max": 0, "fire_reset": False, "fire_on_life_loss": False, "sticky": 0.0}
    games, game, rng = subject.open_games(1, **plain), open_gymnasium(subject).unwrapped, np.random.default_rng(3)
    assert games.layout is not None
    games.reset(1)
    game.reset(seed=1)
    ale: Any = game.ale  # pyright: ignore[reportAttributeAccessIssue]
    buttons, dim = ale.getMinimalActionSet(), subject.env["dim"]
    if subject.env["full_action_space"]:
        buttons = ale.getLegalActionSet()
    of_maximum = of_last = steps = 0
    for _ in range(100):
        action = int(rng.integers(len(buttons)))
        screens = []
        for _ in range(subject.env["frameskip"]):
            ale.act(buttons[action])
            screens.append(ale.getScreenGrayscale())
        step = games.step(np.array([action]))
        if step.finished[0] or ale.game_over():
            break
        picture, steps = games.layout.to_pixels(step.obs[0]), steps + 1
        both = np.maximum(screens[-1], screens[-2])
        for name, screen in (("maximum", both), ("last", screens[-1])):
            same = np.array_equal(cv2.resize(screen, (dim, dim), interpolation=cv2.INTER_AREA), picture)
            of_maximum += same and name == "maximum"
            of_last += same and name == "last"
    games.close()
    found = f"{of_maximum} of {steps} pictures are that maximum; the last frame alone is the picture in {of_last}"
    return judge(of_maximum == steps > 0, found)


@probe(
    "frames",
    "algorithms/learner.py: load, rollouts/rollout.py: stack_frames",
    "ALE and baselines: 0 before the first picture; gymnasium and CleanRL repeat the first one",
    {"atari"},
)
def compare_stacks(subject: Subject) -> Finding:
    """A stack holds the last pictures of its own game, and 0 before its first."""
    frames, resets = subject.rollout["frames"].copy(), subject.rollout["game_reset"].copy()
    resets[len(resets) // 2, 0] = True  # a game that ends in the middle, whether or not one did
    stack, steps = subject.env["frame_stack"], len(resets)
    changed = Rollout(dict(subject.rollout.arrays) | {"frames": frames, "game_reset": resets}, [], [], 0)
    got = subject.learner.load([changed])["obs"].numpy()
    depth, wrong, young = frames.shape[-1], 0, 0
    for n in range(frames.shape[1]):
        first = -stack  # step at whose observation the present game began
        for t in range(steps):
            for age in range(stack):
                of = t - (stack - 1 - age)  # the observation that had this picture as its newest
                expected = frames[of + stack - 1, n] if of >= first else np.zeros_like(frames[0, 0])
                wrong += not np.array_equal(got[t, n, ..., age * depth : (age + 1) * depth], expected)
                young += of < first
            if resets[t, n]:
                first = t + 1
    return judge(wrong == 0, f"{steps * frames.shape[1]} stacks of {stack}: {wrong} wrong places, {young} empty ones")
