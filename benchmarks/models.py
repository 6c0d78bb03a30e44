"""How fast are the networks here? Acting, and forward plus backward, alone; nothing is asserted.

    python -m benchmarks.models               # all of experiments/model/ that take pixels
    python -m benchmarks.models cnn_lstm      # only this one

Each network gets noise in the layout in which pixels travel, 42 x 42 where its name says so, else 84 x 84. Training: a
minibatch of 256, or with an LSTM 32 steps x 8 envs with a game that starts in the middle; without the optimizer.
Acting: one step of 8 envs. All networks take turns in every round, and the median counts; machines drift, so compare
within one run.
"""

import argparse
import json
import logging
import statistics
import time
from pathlib import Path

import gymnasium
import torch

import run
from benchmarks.rounds import parse_count, run_main
from cluster.plan import make_plan
from custom_models.actor_critic import ActorCritic
from environments.frames import layout_of
from environments.machine import find_fastest_dtype, read_cpu_model
from environments.threads import configure_threads
from runs.build import make_model_config

MODELS = Path(run.__file__).parent / "experiments" / "model"
T, N = 32, 8
PATIENCE_S = 0.3  # at least, for one network and kind in one round


def make_network(model: str, dtype: str) -> tuple[ActorCritic, torch.Tensor]:
    """Return a network with six actions, and observations uint8 [T, N, ...] for it."""
    dim = 42 if "42" in model else 84
    settings, _ = run.read_experiment(["env=assault", f"model={model}", f"env.dim={dim}", f"model.dtype={dtype}"])
    layout = layout_of(settings["env"])
    assert layout is not None
    obs = torch.randint(0, 256, (T, N, *layout.stack_shape), dtype=torch.uint8)
    agent = ActorCritic(
        observation_space=gymnasium.spaces.Box(0, 255, layout.stack_shape, obs.numpy().dtype.type),
        action_space=gymnasium.spaces.Discrete(6),
        model_config=make_model_config(make_plan(settings)),
    )
    return agent, obs


def train(agent: ActorCritic, obs: torch.Tensor) -> None:
    """Run forward and backward once."""
    starts = torch.zeros(T, N, dtype=torch.bool)
    starts[T // 2, 0] = True
    if agent.recurrent:
        policy, values = agent.unroll(obs, agent.pack(), agent.make_initial_state(N), starts)
    else:
        policy, values = agent.compute_policy_and_value(obs.flatten(0, 1), agent.pack())
    agent.zero_grad()
    (policy.square().mean() + values.square().mean()).backward()


def act(agent: ActorCritic, obs: torch.Tensor) -> None:
    """Act T times, as for a rollout, without an environment."""
    with torch.inference_mode():
        packed, state = agent.pack(), agent.make_initial_state(N)
        for seen in obs:
            _, _, state = agent.act(seen, packed, state)


def time_work(work, agent: ActorCritic, obs: torch.Tensor) -> list[float]:
    """Return the seconds of each of some repetitions of `train` or `act`, after one that is not counted."""
    work(agent, obs)
    durations = []
    while sum(durations) < PATIENCE_S:
        start = time.perf_counter()
        work(agent, obs)
        durations.append(time.perf_counter() - start)
    return durations


def main() -> None:
    """Measure the networks in turns and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="names of files in experiments/model")
    parser.add_argument("--rounds", type=parse_count, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON line as well, last")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    threads = configure_threads()
    names = arguments.models or sorted(path.stem for path in MODELS.glob("*.yaml") if not path.stem.startswith("mlp"))
    columns = [(work, dtype) for work in (train, act) for dtype in ("bfloat16", "float32")]
    agents = {(name, dtype): make_network(name, dtype) for name in names for dtype in ("bfloat16", "float32")}
    taken = {(name, work, dtype): [] for name in names for work, dtype in columns}
    for _ in range(arguments.rounds):
        for (name, work, dtype), durations in taken.items():
            durations += time_work(work, *agents[name, dtype])
    print(f"{read_cpu_model()}, {threads} threads, torch {torch.__version__}\n")
    print("| model | parameters | training samples/s, bf16 | fp32 | ms per acting step of 8, bf16 | fp32 |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in names:
        parameters = sum(p.numel() for p in agents[name, "float32"][0].parameters())
        middle = [statistics.median(taken[name, work, dtype]) for work, dtype in columns]
        trained = [f"{T * N / s:,.0f}" for s in middle[:2]]
        acted = [f"{1000 * s / T:.2f}" for s in middle[2:]]
        print(f"| `{name}` | {parameters:,} | {' | '.join(trained + acted)} |")
    if arguments.json:
        parts = {"I": act, "G": train}  # as `benchmarks/bare_loop.py` calls them, in the dtype that is fastest here
        durations = {key: statistics.median(taken[key]) for key in taken if key[2] == find_fastest_dtype()}
        rates = {(name, work): T * N / seconds for (name, work, _), seconds in durations.items()}
        print(json.dumps({name: {part: rates[name, work] for part, work in parts.items()} for name in names}))


if __name__ == "__main__":
    run_main(main)
