"""A contestant that may be missing: Stable-Baselines3's own A2C on Assault, as its users write it.

    pip install --target sb3 --no-deps stable-baselines3      # what it needs itself, .venv has
    python -m benchmarks.sb3_a2c --sb3-path sb3 --vectorize subproc

`make_atari_env`, four frames stacked, CnnPolicy and every default of its A2C: 5 steps per update, RMSprop. Net and
protocol are those of this suite's `algo=a2c env=assault`; lr stays constant and there is no entropy bonus, which costs
nothing. Torch has every core.

`dummy` steps the envs one after the other in this process, `subproc` gives each a process.
"""

import argparse
import importlib
import importlib.util
import json
import os
import sys
import time

import ale_py
import gymnasium
import torch

MODULE = "stable_baselines3"
INSTALL = "pip install --target sb3 --no-deps stable-baselines3"
WARM_UP_UPDATES = 20


def is_there(path: str | None) -> bool:
    """Whether Stable-Baselines3 can be imported, from `path` too; last, so that it hides none of our packages."""
    if path and path not in sys.path:
        sys.path.append(path)
    return importlib.util.find_spec(MODULE) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sb3-path", help="the folder it was installed into, unless that is .venv")
    parser.add_argument("--vectorize", choices=["dummy", "subproc"], default="subproc")
    parser.add_argument("--num-envs", type=int, default=16)
    parser.add_argument("--agent-steps", type=int, default=8000, help="timed ones, after warm-up")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="torch's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON line as well, last")
    settings = parser.parse_args()
    if not is_there(settings.sb3_path):
        sys.exit(f"Stable-Baselines3 is not there: {INSTALL}, then --sb3-path sb3")
    sb3 = importlib.import_module(MODULE)
    vectors = importlib.import_module(f"{MODULE}.common.vec_env")
    make_atari_env = importlib.import_module(f"{MODULE}.common.env_util").make_atari_env

    gymnasium.register_envs(ale_py)
    torch.set_num_threads(settings.threads)
    vector = {"dummy": vectors.DummyVecEnv, "subproc": vectors.SubprocVecEnv}[settings.vectorize]
    games = make_atari_env("AssaultNoFrameskip-v4", settings.num_envs, seed=settings.seed, vec_env_cls=vector)
    agent = sb3.A2C("CnnPolicy", vectors.VecFrameStack(games, 4), seed=settings.seed, device="cpu")
    agent.learn(WARM_UP_UPDATES * agent.n_steps * settings.num_envs)
    before, start = agent.num_timesteps, time.perf_counter()
    agent.learn(settings.agent_steps, reset_num_timesteps=False)
    elapsed, agent_steps = time.perf_counter() - start, agent.num_timesteps - before
    games.close()
    result = {"agent_steps_per_s": agent_steps / elapsed, "agent_steps": agent_steps, "elapsed_s": elapsed}
    shape = f"{settings.num_envs}x{agent.n_steps}"
    print(f"Stable-Baselines3 A2C {shape}, {settings.vectorize}: {agent_steps / elapsed:,.0f} agent steps/s")
    if settings.json:
        settings.sb3_path = None  # of this machine alone
        print(json.dumps(result | {"version": sb3.__version__} | vars(settings)))


if __name__ == "__main__":
    main()
