"""A contestant that may be missing: Stable-Baselines3's own A2C or PPO on Assault, as its users write it.

    pip install --target sb3 --no-deps stable-baselines3      # what it needs itself, .venv has
    python -m benchmarks.sb3_speed --algo ppo --sb3-path sb3 --vectorize subproc

`make_atari_env`, four frames stacked and CnnPolicy. A2C has all of its defaults: 16 envs, 5 steps per update, RMSprop.
PPO has the shape of this suite's: 8 envs x 128 steps, 4 epochs of minibatches of 256. Net and protocol are those of
`algo=a2c env=assault` and `algo=ppo env=assault`; lr stays constant and there is no entropy bonus, which costs nothing.
Torch has as many threads as a run of the suite, all cores and at most 8.

`dummy` steps the envs one after the other in this process, `subproc` gives each a process.
"""

import argparse
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path

import ale_py
import gymnasium
import torch

from benchmarks.rounds import (
    Contestant,
    count_threads,
    divide_rounds,
    explain_failing_import,
    parse_count,
    run_main,
    run_module,
)

MODULE = "stable_baselines3"
INSTALL = "pip install --target sb3 --no-deps stable-baselines3"
SHAPES = {"a2c": {}, "ppo": {"n_steps": 128, "batch_size": 256, "n_epochs": 4}}  # where it differs from its defaults
ENVS = {"a2c": 16, "ppo": 8}
WARM_UP_UPDATES = {"a2c": 20, "ppo": 2}


def add_path(parser: argparse.ArgumentParser) -> None:
    """Add the option `--sb3-path` to a parser."""
    text = "the folder Stable-Baselines3 was installed into, unless that is .venv"
    parser.add_argument("--sb3-path", type=lambda path: str(Path(path).resolve()), help=text)


def is_installed(path: str | None) -> bool:
    """Return whether Stable-Baselines3 can be imported; `path` comes last, so that it hides none of our packages."""
    if path and path not in sys.path:
        sys.path.append(path)
    return importlib.util.find_spec(MODULE) is not None


def check_path(parser: argparse.ArgumentParser, path: str | None) -> bool:
    """Return whether Stable-Baselines3 is installed; say so if it is not. End the program if a path was given without
    it, or if it is there and cannot be imported."""
    there = is_installed(path)
    if path and not there:
        parser.error(f"--sb3-path {path}: Stable-Baselines3 is not there; {INSTALL}")
    if there and (why := explain_failing_import([MODULE], path)):
        parser.error(f"Stable-Baselines3 is there and cannot be imported ({why}); {INSTALL}")
    if not there:
        print(f"Stable-Baselines3 is not installed, its rows are left out: {INSTALL}, then make bench SB3=sb3")
    return there


def make_contestants(algo: str, path: str | None, agent_steps: int) -> dict[str, Contestant]:
    """Return both ways to step its envs, by the names that they have in a round."""

    def make(vectorize: str) -> Contestant:
        words = [f"--algo={algo}", f"--vectorize={vectorize}", f"--agent-steps={agent_steps}"]
        words += [f"--sb3-path={path}"] if path else []
        return lambda folder: run_module("sb3_speed", folder, *words)

    return {f"sb3_{vectorize}": make(vectorize) for vectorize in ("subproc", "dummy")}


def summarize(speed: dict[str, list[float]], suite: str, label: str) -> dict[str, list[float]]:
    """Return the lines of a table: agent steps/s of both ways, and how much faster than the better one the suite is.

    Args:
        speed: contestant -> agent steps/s, one per round.
        suite: which contestant is this suite.
        label: what the lines begin with.
    """
    if "sb3_subproc" not in speed:
        return {}
    faster = [max(both) for both in zip(speed["sb3_dummy"], speed["sb3_subproc"], strict=True)]
    return {
        f"{label}Stable-Baselines3, envs in one process, agent steps/s": speed["sb3_dummy"],
        f"{label}Stable-Baselines3, a process per env, agent steps/s": speed["sb3_subproc"],
        f"{label}this suite / the faster Stable-Baselines3": divide_rounds(speed[suite], faster),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_path(parser)
    parser.add_argument("--algo", choices=list(SHAPES), required=True)
    parser.add_argument("--vectorize", choices=["dummy", "subproc"], default="subproc")
    parser.add_argument("--agent-steps", type=parse_count, default=8000, help="timed ones, after warm-up")
    parser.add_argument("--threads", type=parse_count, default=count_threads(), help="torch's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON line as well, last")
    settings = parser.parse_args()
    if not is_installed(settings.sb3_path):
        sys.exit(f"Stable-Baselines3 is not there: {INSTALL}, then --sb3-path sb3")
    sb3 = importlib.import_module(MODULE)
    vectors = importlib.import_module(f"{MODULE}.common.vec_env")
    make_atari_env = importlib.import_module(f"{MODULE}.common.env_util").make_atari_env

    gymnasium.register_envs(ale_py)
    torch.set_num_threads(settings.threads)
    vector = {"dummy": vectors.DummyVecEnv, "subproc": vectors.SubprocVecEnv}[settings.vectorize]
    num_envs, learner = ENVS[settings.algo], getattr(sb3, settings.algo.upper())
    games = make_atari_env("AssaultNoFrameskip-v4", num_envs, seed=settings.seed, vec_env_cls=vector)
    stacked = vectors.VecFrameStack(games, 4)
    agent = learner("CnnPolicy", stacked, seed=settings.seed, device="cpu", **SHAPES[settings.algo])
    agent.learn(WARM_UP_UPDATES[settings.algo] * agent.n_steps * num_envs)
    before, start = agent.num_timesteps, time.perf_counter()
    agent.learn(settings.agent_steps, reset_num_timesteps=False)
    elapsed, agent_steps = time.perf_counter() - start, agent.num_timesteps - before
    games.close()
    result = {"agent_steps_per_s": agent_steps / elapsed, "agent_steps": agent_steps, "elapsed_s": elapsed}
    shape = f"{settings.algo.upper()} {num_envs}x{agent.n_steps}"
    print(f"Stable-Baselines3 {shape}, {settings.vectorize}: {agent_steps / elapsed:,.0f} agent steps/s")
    if settings.json:
        settings.sb3_path = None  # of this machine alone
        print(json.dumps(result | {"version": sb3.__version__} | vars(settings)))


if __name__ == "__main__":
    run_main(main)
