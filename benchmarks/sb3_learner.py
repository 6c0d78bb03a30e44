"""A contestant of benchmarks/learning.py that may be missing: Stable-Baselines3 trains Assault with given settings.

    python -m benchmarks.sb3_learner --algo a2c --agent-steps 10000 --sb3-path sb3 --out a2c.json

Settings, and what they are called in this suite, are in benchmarks/learning.py. The score of a game is what
Stable-Baselines3's Monitor saw: unclipped, from the first frame to the last, over all lives.

Between two rollouts, once a minute, the agent is kept beside `--out`, with the games that have ended. The same line
goes on from there; the games under way are lost, as in this suite, and those that follow have other seeds.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ale_py
import gymnasium
import torch

from benchmarks import learning, sb3_speed
from benchmarks.rounds import parse_count, parse_output_path, run_main

SAVE_EVERY_S = 60


def fall_to_zero(start: float) -> Callable[[float], float]:
    """Return a schedule that falls linearly from `start` to 0, of the share of the run that remains."""
    return lambda remaining: start * remaining


def make_arguments(algo: str) -> dict[str, Any]:
    """Return the keyword arguments of Stable-Baselines3's A2C or PPO that learning.THEIRS stands for."""
    arguments = {
        name: fall_to_zero(value) if name in learning.FALLING[algo] else value
        for name, value in learning.THEIRS[algo].items()
    }
    num_envs, eps = arguments.pop("num_envs"), arguments.pop("eps")
    adam = {"use_rms_prop": False} if algo == "a2c" else {}  # PPO has no other optimizer
    return {"num_envs": num_envs, "policy_kwargs": {"optimizer_kwargs": {"eps": eps}}} | adam | arguments


def make_callback(kept: Path) -> Any:
    """Return a callback that notes the games that end in `agent.notes`, and keeps the agent in the file `kept`.

    `agent.notes` is saved with the agent: the games, [agent steps, score] each, and the seconds of training.
    """

    class NotesAndFiles(importlib.import_module(f"{sb3_speed.MODULE}.common.callbacks").BaseCallback):
        def _on_training_start(self) -> None:
            self.start = self.saved = time.perf_counter()
            self.before_s = self.model.notes["elapsed_s"]

        def _on_step(self) -> bool:
            ended = [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
            self.model.notes["games"].extend((self.model.num_timesteps, float(score)) for score in ended)
            return True

        def _on_rollout_start(self) -> None:
            self._note_time()
            if time.perf_counter() - self.saved >= SAVE_EVERY_S:
                new = kept.with_suffix(".new.zip")
                self.model.save(new)
                new.replace(kept)
                self.saved = time.perf_counter()

        def _on_training_end(self) -> None:
            self._note_time()

        def _note_time(self) -> None:
            self.model.notes["elapsed_s"] = self.before_s + time.perf_counter() - self.start

    return NotesAndFiles()


def train(algo: str, seed: int, agent_steps: int, threads: int, vectorize: str, kept: Path) -> dict[str, Any]:
    """Train one agent, or go on with the one in the file `kept`.

    Returns the games that ended, [agent steps, score] each, and how long it took in seconds.
    """
    sb3, vectors = (importlib.import_module(f"{sb3_speed.MODULE}{part}") for part in ("", ".common.vec_env"))
    make_atari_env = importlib.import_module(f"{sb3_speed.MODULE}.common.env_util").make_atari_env
    gymnasium.register_envs(ale_py)
    torch.set_num_threads(threads)
    arguments = make_arguments(algo)
    vector = {"dummy": vectors.DummyVecEnv, "subproc": vectors.SubprocVecEnv}[vectorize]
    envs = make_atari_env("AssaultNoFrameskip-v4", arguments.pop("num_envs"), seed=seed, vec_env_cls=vector)
    stacks, kind = vectors.VecFrameStack(envs, 4), {"a2c": sb3.A2C, "ppo": sb3.PPO}[algo]
    if kept.exists():
        agent = kind.load(kept, env=stacks, device="cpu")
        agent.set_random_seed(seed + agent.num_timesteps)
    else:
        agent = kind("CnnPolicy", stacks, seed=seed, device="cpu", **arguments)
        agent.notes = {"games": [], "elapsed_s": 0.0}
    left = agent_steps - agent.num_timesteps
    agent.learn(left, callback=make_callback(kept), reset_num_timesteps=False)
    envs.close()
    return agent.notes | {"agent_steps": agent.num_timesteps, "version": sb3.__version__}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--algo", choices=list(learning.THEIRS), required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--agent-steps", type=parse_count, required=True)
    parser.add_argument("--threads", type=parse_count, default=1, help="torch's")
    parser.add_argument("--vectorize", choices=["dummy", "subproc"], default="dummy")
    sb3_speed.add_path(parser)
    parser.add_argument("--out", type=parse_output_path, required=True)
    options = parser.parse_args()
    if not sb3_speed.is_installed(options.sb3_path):
        sys.exit(f"Stable-Baselines3 is not there: {sb3_speed.INSTALL}, then --sb3-path sb3")
    kept = options.out.with_name(f"{options.out.stem}_{options.algo}_{options.seed}_{options.agent_steps}.zip")
    result = train(options.algo, options.seed, options.agent_steps, options.threads, options.vectorize, kept)
    options.out.write_text(json.dumps(result) + "\n")
    kept.unlink(missing_ok=True)


if __name__ == "__main__":
    run_main(main)
