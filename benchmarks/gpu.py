"""How near does PPO come to what a machine with a GPU can do? Linux only.

    python -m benchmarks.gpu            # three rounds; 19 of the 24 parts of one took 12 min on an H200
    python -m benchmarks.gpu --quick    # one short round with 8 envs, to see that it works; not for quoting

    alone    E  the emulator, random actions on all cores | I  acting on the GPU | L  updates on the GPU
    whole    PPO on Assault: 8, 64 and 256 envs x 0, 2 and 8 env runners, playing before or while it learns (overlap)

Each in a fresh process, in turns: benchmarks/rounds.py. All are in agent steps/s; L counts a step once, whatever the
epochs. The limits that follow: 1 / (1/E + 1/I + 1/L) where one waits for the other, and where playing overlaps learning
the lower of 1 / (1/E + 1/I) and L. With env runners the GPU is shared, half for them and half for the learner; without
any, the training process does all three. A number of env runners that there are no cores for is left out, and said.
"""

import argparse
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from ray.rllib.core import DEFAULT_MODULE_ID

import run
from algorithms.learner import PROGRESS
from benchmarks.rounds import (
    Contestant,
    begin,
    divide_rounds,
    list_speeds,
    make_parser,
    measure_rounds,
    run_main,
    run_module,
    run_suite,
    take_turns,
)
from cluster.plan import make_plan
from environments.games import make_games
from environments.machine import count_cpus
from environments.threads import configure_threads
from rollouts.device import Acting
from rollouts.rollout import Rollout, RolloutData, list_columns
from runs.build import build_config
from settings.mistakes import Mistake

HORIZON, NUM_RUNNERS = 128, (0, 2, 8)
UPDATES = {8: 20, 64: 8, 256: 4}  # number of envs -> updates that a whole run is timed over
TRAINING_CPUS = 2  # of the training process where others play
PARTS = ("emulator", "acting", "learning")


def list_overrides(
    num_envs: int, runners: int = 0, overlap: bool = False, cores: int = 1, gpu: bool = True
) -> list[str]:
    """Return the overrides of a whole run, with the paper's four minibatches per epoch, whatever the number of envs."""
    found = ["algo=ppo", "env=assault", f"algo.num_envs={num_envs}", f"algo.horizon={HORIZON}"]
    found += [f"algo.minibatch_size={num_envs * HORIZON // 4}", f"report_every={num_envs * HORIZON}"]
    found += [f"cluster.num_env_runners={runners}", f"algo.overlap={overlap}".lower()]
    if runners:
        found += [f"cluster.cpus={TRAINING_CPUS}", f"cluster.cpus_per_runner={(cores - TRAINING_CPUS) // runners}"]
        return found + ["cluster.gpus_per_learner=0.5", f"cluster.gpus_per_runner={0.5 / runners}"] * gpu
    return found + [f"cluster.cpus={cores}"] + ["cluster.gpus_per_learner=1"] * gpu


# Each part alone ------------------------------------------------------------------------------------------------------


def measure_rate(work: Callable[[], Any], steps: int, duration_s: float) -> float:
    """Return the agent steps/s of a call that does so many and waits for the GPU; the first call is not counted."""
    work()
    start, times = time.perf_counter(), 0
    while time.perf_counter() - start < duration_s:
        work()
        times += 1
    return times * steps / (time.perf_counter() - start)


def measure_emulator(num_envs: int, duration_s: float) -> float:
    """Return E: the agent steps/s of ALE's vector env on all cores."""
    threads = min(count_cpus(), num_envs)
    mode = AutoresetMode.SAME_STEP
    env: Any = AtariVectorEnv("assault", num_envs=num_envs, num_threads=threads, stack_num=1, autoreset_mode=mode)
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    found = measure_rate(lambda: env.step(rng.integers(0, env.single_action_space.n, num_envs)), num_envs, duration_s)
    env.close()
    return found


def measure_acting(device: torch.device, num_envs: int, duration_s: float) -> float:
    """Return I: the agent steps/s from stacks on the host to actions on the host, by the suite's network."""
    learner, games = make_learner(device, num_envs)
    net, generator, actor = learner.net, torch.Generator().manual_seed(0), Acting(device)
    obs = torch.randint(0, 256, (num_envs, *games.layout.stack_shape), dtype=torch.uint8)
    with torch.inference_mode():
        packed = net.pack()

        def step() -> None:
            policy = net.Policy(actor.act(net, obs, packed, ())[0])
            policy.logp(policy.sample(generator))

        return measure_rate(step, num_envs, duration_s)


def measure_learning(device: torch.device, num_envs: int, duration_s: float) -> float:
    """Return L: the agent steps/s from a rollout of noise on the host to new weights, all epochs."""
    learner, games = make_learner(device, num_envs)
    rng, steps = np.random.default_rng(0), num_envs * HORIZON
    table = list_columns(HORIZON, num_envs, games.observation_space, games.action_space, games.layout, 0)
    arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in table.items()}
    arrays["frames"] = rng.integers(0, 256, arrays["frames"].shape, np.uint8)
    arrays["rewards"] = rng.integers(0, 2, arrays["rewards"].shape).astype(np.float32)
    arrays["logp"] += np.log(1 / games.action_space.n).astype(np.float32)
    arrays["valid"][:] = True
    data = RolloutData([Rollout(arrays, [], [], 0)])
    # Its report reads numbers from the device, so it has waited for all of the update.
    return measure_rate(lambda: learner.update(training_data=data, timesteps={PROGRESS: 0.0}), steps, duration_s)


def make_learner(device: torch.device, num_envs: int) -> tuple[Any, Any]:
    """Return a learner on the device, and closed games, which tell the spaces and the layout."""
    dtype = ["model.dtype=bfloat16"] if device.type == "cuda" else []  # as a whole run computes on a GPU
    config = build_config(make_plan(run.read_experiment([*list_overrides(num_envs, gpu=False), *dtype])[0]))
    config.num_gpus_per_learner = int(device.type == "cuda")
    games = make_games(config.env_config, 1, 1)
    games.close()
    learner = config.build_learner(spaces={DEFAULT_MODULE_ID: (games.observation_space, games.action_space)})
    configure_threads()
    return learner, games


def measure_part(name: str, device: torch.device, num_envs: int, duration_s: float) -> float:
    """Return the agent steps/s of one of PARTS."""
    if name == "emulator":
        return measure_emulator(num_envs, duration_s)
    return {"acting": measure_acting, "learning": measure_learning}[name](device, num_envs, duration_s)


# All of them ----------------------------------------------------------------------------------------------------------


def make_contestants(device: str, updates: dict[int, int], cores: int, duration_s: float) -> dict[str, Contestant]:
    """Return name -> contestant, with names such as `emulator 8` and `8 envs, 2 env runners, overlap`."""
    found: dict[str, Contestant] = {}
    for n, timed in updates.items():
        for name in PARTS:
            arguments = f"--part={name}", f"--device={device}", f"--envs={n}", f"--duration={duration_s}"
            found[f"{name} {n}"] = lambda folder, arguments=arguments: run_module("gpu", folder, *arguments)
        for runners in NUM_RUNNERS:
            if runners and TRAINING_CPUS + runners > cores:
                print(f"left out: {runners} env runners, which need {TRAINING_CPUS + runners} cores of {cores}")
                continue
            for overlap in (False, True)[: 1 + bool(runners)]:
                typed, steps = list_overrides(n, runners, overlap, cores, device == "cuda"), n * HORIZON
                found[name_run(n, runners, overlap)] = lambda folder, typed=typed, steps=steps, timed=timed: run_suite(
                    folder, 2 * steps, timed * steps, *typed
                )
    return found


def name_run(num_envs: int, runners: int, overlap: bool) -> str:
    """Return the name of a whole run in the table."""
    return f"{num_envs} envs, {runners} env runners" + ", overlap" * overlap


def summarize(rounds: list[dict], sizes: tuple[int, ...]) -> dict[str, list[float]]:
    """Return the lines of the table: label -> one number per round."""
    lines = {}
    for n in sizes:
        E, I, L = (list_speeds(rounds, f"{name} {n}") for name in PARTS)
        play = [1 / (1 / e + 1 / i) for e, i in zip(E, I, strict=True)]
        limits = {
            False: [1 / (1 / p + 1 / x) for p, x in zip(play, L, strict=True)],
            True: [min(p, x) for p, x in zip(play, L, strict=True)],
        }
        lines |= {f"{n} envs: E, emulator alone, agent steps/s": E, f"{n} envs: I, acting alone, agent steps/s": I}
        lines |= {f"{n} envs: L, learning alone, agent steps/s": L}
        lines |= {
            f"{n} envs: limit, agent steps/s": limits[False],
            f"{n} envs: limit, overlap, agent steps/s": limits[True],
        }
        for runners in NUM_RUNNERS:
            for overlap in (False, True):
                name = name_run(n, runners, overlap)
                if name in rounds[0]:
                    lines[f"{name}, agent steps/s"] = list_speeds(rounds, name)
                    lines[f"{name} / limit"] = divide_rounds(list_speeds(rounds, name), limits[overlap])
    return lines


def parse_arguments() -> argparse.Namespace:
    """Return the arguments; `--part` and those after it are how this file starts itself for one part alone."""
    parser = make_parser(__doc__, "gpu.json")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help=argparse.SUPPRESS)
    parser.add_argument("--envs", type=int, default=8, help=argparse.SUPPRESS)
    parser.add_argument("--duration", type=float, default=5.0, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    settings = parse_arguments()
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise Mistake("torch sees no GPU in this machine; run it on one that has a GPU and a CUDA build of torch")
    device = torch.device(settings.device)
    logging.disable(logging.WARNING)
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # for the parts alone too; cluster/connection.py says why
    if settings.part:
        print(json.dumps({"agent_steps_per_s": measure_part(settings.part, device, settings.envs, settings.duration)}))
        return
    updates, num_rounds = ({8: 4}, 1) if settings.quick else (UPDATES, settings.rounds)
    result = begin() | {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"}
    duration_s = 1.0 if settings.quick else settings.duration
    contestants = make_contestants(settings.device, updates, count_cpus(), duration_s)
    measure_rounds(
        result,
        num_rounds,
        lambda number: take_turns(contestants, number),
        lambda rounds: summarize(rounds, tuple(updates)),
        settings.out,
    )


if __name__ == "__main__":
    run_main(main)
