"""Live game: the newest checkpoint of a run plays now; viewers see frames in colour and the policy of each step.

    run directory -> checkpoint -> network -> one agent step -> the same step in a second emulator -> message to page

The agent sees its own 84x84 pixels in ALE's vector environment. Viewers see the frames of a second emulator with the
same seed and the same actions, as in a replay. A lost life ends no game.
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
from playing.agent import choose_dtype, load_network
from playing.rules import apply_rules
from playing.saved_settings import read_run_settings
from playing.whole_games import open_games
from recordings.recording import describe_policy
from recordings.replay import Replay, label_policy, list_factors, list_played
from recordings.replayed_game import has_pictures, open_game
from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.layout import checkpoint_path
from run_directory.manifest import read_state
from settings.algorithms import find_base
from settings.mistakes import Mistake

EMPTY = np.empty(0, np.float32)


class NoPictures(Mistake):
    """The environment has no pictures, or none of the agent's game, so its games cannot be watched."""


class LiveGame:
    """Plays the games of a run of one seed, one after another, each with the newest checkpoint at its start.

    Args:
        run: the run directory.
        checkpoint: the checkpoint that plays, as in `evaluate`; None takes `last`, or the best if there is no last.

    Attributes:
        number: how many games have begun.
    """

    def __init__(self, run: Path, checkpoint: str | None):
        self._run, self._wanted = run, checkpoint
        self._network: Any = None
        self._network_state: Any = None  # the state of the checkpoint file that the network was read from
        self._games: Any = None
        self._screen: Any = None
        self._over, self._frame, self._id = True, None, None
        self._generator = torch.Generator().manual_seed(secrets.randbits(62))
        self.number = 0

    def play(self, every: int) -> tuple[bytes, float]:
        """Play one agent step; if the last game is over, the next one begins.

        Args:
            every: how many frames become one picture: the maximum of the last two of them, because sprites flicker.

        Returns:
            The message for the page, and how many seconds the step lasts. The message is the length of a header, the
            header as JSON, and the frames, each as its difference (XOR) to the one before, compressed by zlib.

        Raises:
            NoPictures: the environment has no pictures, or plays another game with the same seed and actions.
            Mistake: there is no checkpoint yet, or no readable one.
            EnvironmentFault: the environment raised an error.
        """
        if self._over:
            self._begin_game()
        with torch.inference_mode():
            parameters, values, self._state = self._network.act(self._get_observations(), self._packed, self._state)
            policy = self._network.Policy(parameters)
            actions = policy.sample(self._generator).numpy()
            kind, row = describe_policy(policy)
        action, decided = self._games.played_actions(actions)[0], not self._games.ignores_next[0]
        self._over = True  # until both have played the step: one of them may raise, and the game would be another one
        step, moment = self._games.step(actions), self._screen.step(action)
        terminated = bool(step.terminated[0])
        played = (float(step.rewards[0]), terminated, bool(step.truncated[0]) and not terminated)
        if self._id and (moment.reward, moment.terminated, moment.truncated) != played:
            raise NoPictures(
                f"env.id={self._id}: the same seed and actions play another game, so its pictures would not be of the "
                "agent's game, and there are curves only; draw its random numbers from self.np_random"
            )
        self._stack.push(step.obs, step.game_reset)
        score, self._score = self._score, self._score + float(step.rewards[0])
        self._over, self._steps = bool(step.finished[0]), self._steps + 1
        header = {
            "game": self.number,
            "step": self._steps,
            "score": score,
            "kind": kind,
            "labels": self._labels,
            "how": self._how,
            "policy": [round(float(x), 4) for x in row["policy"][0]],
            "value": None if self._base == "pg" else round(float(values[0]), 3),  # PG does not train its value head
            "action": None if kind == "gaussian" else list_played(np.asarray(action)[None], self._factors)[0].tolist(),
            "decided": bool(decided),
        } | self._agent
        frames, seconds = combine_flickering(moment.frames, every), len(moment.frames) / self._screen.fps
        return self._make_message(header | {"frame_s": seconds / len(frames)}, frames), seconds

    def skip(self) -> None:
        """Let the next step begin a new game, with the newest checkpoint."""
        self._over = True

    def close(self) -> None:
        """Close the environments; `play` would begin another game."""
        for one in (self._games, self._screen):
            if one is not None:
                one.close()
        self._games = self._screen = None
        self._over = True

    def _begin_game(self) -> None:
        """Begin a game: read the newest checkpoint, and open the agent's environment and the viewer's."""
        self.close()
        settings = read_run_settings(self._run)
        env, _ = apply_rules(settings["env"], {})
        self._id = env.get("id")
        if self._network_state is None and not has_pictures(env):
            raise NoPictures(f"{env['name']} draws no pictures (render_mode rgb_array), so there are curves only")
        self._base, self._games = find_base(settings["algo"]), open_games(self._run, env, 1, one_by_one=True)
        self._read_newest_checkpoint(settings, env)
        seed = secrets.randbelow(2**30)
        self._stack = FrameStack(self._games.layout, self._games.reset(seed))
        self._state = self._network.make_initial_state(1)
        with torch.inference_mode():
            parameters, _, _ = self._network.act(self._get_observations(), self._packed, self._state)
            kind, row = describe_policy(self._network.Policy(parameters))
        start, names = int(self._games.start_frames[0]) if "game" in env else 0, self._games.action_names
        arrays = (EMPTY, EMPTY, EMPTY, row["policy"][:0], None, None)
        self._factors = list_factors(self._games.action_space)
        # Of a game without steps yet.
        replay = Replay(env, seed, start, names, kind, 0.0, False, {}, *arrays, self._factors)
        self._screen = open_game(replay)
        self._labels, self._how = label_policy(replay)
        self._score, self._steps, self._over = 0.0, 0, False
        self.number += 1

    def _read_newest_checkpoint(self, settings: dict, env: dict) -> None:
        """Read the newest checkpoint if it has changed; if it is just being replaced, keep the network that plays."""
        newest = "last" if checkpoint_path(self._run, "last").is_dir() else None
        try:
            for _ in range(3):
                checkpoint = find_checkpoint(self._run, self._wanted or newest)
                state = read_state(checkpoint)
                if self._network is not None and state == self._network_state:
                    return
                model = choose_dtype(settings["model"])
                network = load_network(checkpoint, model, env, self._games, settings["algo"])
                totals = read_totals(checkpoint)
                if state == read_state(checkpoint):  # else the checkpoint was replaced while it was read
                    break
            else:
                raise Mistake(f"{checkpoint}: it is replaced again and again while it is read")
        except (Mistake, OSError) as error:
            if self._network is None:
                raise Mistake(str(error)) from error
            return
        self._network_state, self._network = state, network
        with torch.inference_mode():
            self._packed = network.pack()
        self._agent = {"checkpoint": checkpoint.name, "agent_steps": totals.get("agent_steps")}

    def _get_observations(self) -> torch.Tensor:
        """Return the frame stack that the network sees next."""
        return torch.from_numpy(self._stack.get_observations())

    def _make_message(self, header: dict[str, Any], frames: list[np.ndarray]) -> bytes:
        """Return the message for a step; its first frame stands whole if the page has none of the same size."""
        shape = (len(frames), *frames[0].shape)
        before = self._frame
        whole = before is None or before.shape != frames[0].shape
        stack = np.stack([np.zeros_like(frames[0]) if before is None or whole else before, *frames])
        self._frame = frames[-1]
        head = json.dumps(header | {"shape": shape, "whole": whole}).encode()
        return struct.pack("<I", len(head)) + head + zlib.compress((stack[1:] ^ stack[:-1]).tobytes(), 1)


def combine_flickering(frames: list[np.ndarray], every: int) -> list[np.ndarray]:
    """Return one picture for each `every` frames, the maximum of the last two of them; at least one picture."""
    if every == 1 or len(frames) == 1:
        return frames
    ends = range(min(every, len(frames)) - 1, len(frames), every)
    return [np.maximum(frames[end - 1], frames[end]) for end in ends]
