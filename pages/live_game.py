"""A game that is being played now, by the newest checkpoint of a run: frames in colour, and what the agent thinks.

    run directory -> checkpoint -> network -> one agent step -> Emulator, in step with it -> message to the page

The agent sees its own 84x84 pixels in ALE's vector env; what a viewer sees comes from a second emulator that is given
the same seed and the same actions, as a replay is. A game is over when it is over, a lost life ends nothing.
"""

import json
import secrets
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from environments.frame_stack import FrameStack
from evidence.evaluate import apply_rules, load_agent, model_of, open_games
from pages.run_page import can_be_drawn, labels_of
from recordings.recording import describe_policy
from recordings.replay import Replay
from recordings.replayed_game import open_game
from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.layout import MANIFEST, checkpoint_path
from run_directory.saved_settings import read_run_settings
from settings.mistakes import Mistake

NOTHING = np.empty(0, np.float32)


class NoPictures(Mistake):
    """An environment does not draw itself, so there is nothing to watch."""


class LiveGame:
    """The games of a run of one seed, one after another, each with the checkpoint that is the newest when it begins.

    Args:
        run: the run directory.
        checkpoint: that plays, as in `evaluate`; None takes `last`, or what there is.
    """

    def __init__(self, run: Path, checkpoint: str | None):
        self._run, self._wanted = run, checkpoint
        self._network: Any = None
        self._read: Any = None  # the state of the manifest of the checkpoint that was read
        self._games: Any = None
        self._screen: Any = None
        self._over, self._frame = True, None
        self._generator = torch.Generator().manual_seed(secrets.randbits(62))
        self.number = 0

    def play(self, every: int) -> tuple[bytes, float]:
        """Play one agent step; begins the next game where one is over.

        Args:
            every: of so many frames the viewer sees one, the maximum of the last two, as sprites flicker.

        Returns:
            The message for the page: the length of a header, the header as JSON, and the frames, each as its
            difference (XOR) to the one before, packed by zlib; and how many seconds the step lasts.

        Raises:
            NoPictures: the environment cannot be drawn.
            Mistake: there is no checkpoint yet, or none that can be read.
            EnvironmentFault: the environment raised something.
        """
        if self._over:
            self._begin()
        with torch.inference_mode():
            parameters, values, self._state = self._network.act(self._observations(), self._packed, self._state)
            policy = self._network.Policy(parameters)
            actions = policy.sample(self._generator).numpy()
            kind, row = describe_policy(policy)
        action, decided = self._games.played_actions(actions)[0], not self._games.ignores_next[0]
        step, moment = self._games.step(actions), self._screen.step(action)
        self._stack.push(step.obs, step.game_reset)
        score, self._score = self._score, self._score + float(step.rewards[0])
        self._over, self._steps = bool(step.finished[0]), self._steps + 1
        header = {
            "game": self.number,
            "step": self._steps,
            "score": score,
            "next_score": self._score,
            "over": self._over,
            "kind": kind,
            "labels": self._labels,
            "how": self._how,
            "policy": [round(float(x), 4) for x in row["policy"][0]],
            "value": None if self._algo == "pg" else round(float(values[0]), 3),  # PG trains no value
            "action": int(action) if np.ndim(action) == 0 and kind != "gaussian" else None,
            "decided": bool(decided),
        } | self._agent
        frames, seconds = thinned(moment.frames, every), len(moment.frames) / self._screen.fps
        return self._message(header | {"frame_s": seconds / len(frames)}, frames), seconds

    def skip(self) -> None:
        """Let the next step begin a new game, with the newest checkpoint."""
        self._over = True

    def close(self) -> None:
        """Give the game back; `play` begins another."""
        for one in (self._games, self._screen):
            if one is not None:
                one.close()
        self._games = self._screen = None
        self._over = True

    def _begin(self) -> None:
        self.close()
        settings = read_run_settings(self._run)
        env, _ = apply_rules(settings["env"], {})
        if self._read is None and not can_be_drawn(env):
            raise NoPictures(f"{env['name']} draws no pictures (render_mode rgb_array), so there are curves only")
        self._algo, self._games = settings["algo"]["name"], open_games(self._run, env, 1, one_by_one=True)
        self._take_newest(settings, env)
        seed = secrets.randbelow(2**30)
        self._stack = FrameStack(self._games.layout, self._games.reset(seed))
        self._state = self._network.initial_state(1)
        with torch.inference_mode():
            parameters, _, _ = self._network.act(self._observations(), self._packed, self._state)
            kind, row = describe_policy(self._network.Policy(parameters))
        start, names = int(self._games.start_frames[0]) if "game" in env else 0, self._games.action_names
        arrays = (NOTHING, NOTHING, NOTHING, row["policy"][:0], None, None)
        replay = Replay(env, seed, start, names, kind, 0.0, False, {}, *arrays)  # of nothing yet
        self._screen = open_game(replay)
        self._labels, self._how = labels_of(replay)
        self._score, self._steps, self._over = 0.0, 0, False
        self.number += 1

    def _take_newest(self, settings: dict, env: dict) -> None:
        """Read the newest checkpoint where it is another than before; one that is just being replaced can wait."""
        newest = "last" if checkpoint_path(self._run, "last").is_dir() else None
        try:
            for _ in range(3):
                checkpoint = find_checkpoint(self._run, self._wanted or newest)
                state = state_of(checkpoint)
                if state == self._read:
                    return
                network = load_agent(checkpoint, model_of(settings), env, self._games, settings["algo"])
                progress = read_totals(checkpoint)
                if state == state_of(checkpoint):  # else it was replaced meanwhile
                    break
            else:
                raise Mistake(f"{checkpoint}: it is replaced again and again while it is read")
        except (Mistake, OSError) as error:
            if self._network is None:
                raise Mistake(str(error)) from error
            return
        self._read, self._network = state, network
        with torch.inference_mode():
            self._packed = network.pack()
        self._agent = {"checkpoint": checkpoint.name, "agent_steps": progress.get("agent_steps")}

    def _observations(self) -> torch.Tensor:
        return torch.from_numpy(self._stack.observations())

    def _message(self, header: dict[str, Any], frames: list[np.ndarray]) -> bytes:
        shape = (len(frames), *frames[0].shape)
        before = self._frame
        whole = before is None or before.shape != frames[0].shape
        stack = np.stack([np.zeros_like(frames[0]) if before is None or whole else before, *frames])
        self._frame = frames[-1]
        head = json.dumps(header | {"shape": shape, "whole": whole}).encode()
        return struct.pack("<I", len(head)) + head + zlib.compress((stack[1:] ^ stack[:-1]).tobytes(), 1)


def state_of(checkpoint: Path) -> tuple[int, int, int]:
    """Return what differs between a checkpoint and the one that takes its place."""
    found = (checkpoint / MANIFEST).stat()
    return found.st_ino, found.st_mtime_ns, found.st_size


def thinned(frames: list[np.ndarray], every: int) -> list[np.ndarray]:
    """Return one of `every` frames, the maximum of it and the one before; at least one."""
    if every == 1 or len(frames) == 1:
        return frames
    ends = range(min(every, len(frames)) - 1, len(frames), every)
    return [np.maximum(frames[end - 1], frames[end]) for end in ends]
