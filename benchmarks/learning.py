"""Do A2C and PPO learn here what Stable-Baselines3's learn? Both train Assault with the same settings.

    pip install --target sb3 --no-deps stable-baselines3      # what it needs itself, .venv has
    python -m benchmarks.learning --sb3-path sb3              # a million agent steps, seeds 1, 2 and 3, A2C and PPO
    python -m benchmarks.learning --sb3-path sb3 --algos a2c --seeds 1 --agent-steps 300000

Every agent trains in a process of its own, one after the other, and the folder `--out` keeps each that is done. The
same line goes on where it was interrupted: both libraries' agents go on from their last checkpoint. In the end,
comparison.md has the scores of the last 100 full games, unclipped, with the verdict of verdicts/two_arms.py, the curves
and the speed.

Equal: every number in OURS and THEIRS, the Nature network in float32 with orthogonal first weights, four gray frames
of 84 x 84, four emulator frames per agent step, the game's own actions, FIRE at the start and after a lost life, lost
lives that end training episodes, clipped rewards, the value of the last observation where a game is cut.

Not equal, because one of the two has no setting for it:

- Before a game: 1 to 30 no-ops there, 0 to 29 here. After FIRE, there also the action after FIRE, once.
- After a lost life: a no-op, FIRE and the action after FIRE there, none of which is counted; FIRE alone here.
- Standardised advantages: divided by the deviation of the sample there (n - 1), of the population here (n).
- Step size and clip range (PPO) fall by the agent steps before an update here, including those of the update there.
- A seed is a name: the same one gives other games and other first weights in the other library. So seeds are not
  compared in pairs.
- Value clipping (PPO) is off in both.

PPO has the paper's settings, A2C those of tuned_configs/assault_a2c.yaml: with openai/baselines' it stays on the
plateau near 370 for a million agent steps, where nothing is learned that could differ.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import sb3_speed
from benchmarks.processes import run_process
from benchmarks.rounds import ROOT, begin, parse_count, run_main, wait_output
from run_directory.files import read_json
from run_directory.layout import PROGRESS_CSV
from run_directory.progress_table import read_rows
from run_directory.writing import write_file
from verdicts.two_arms import compare_arms

OURS_NAME, THEIRS_NAME = "suite", "sb3"
SHARED = ("env=assault", "model=nature_cnn", "model.dtype=float32", "algo.optimizer=adam", "algo.optimizer_eps=1e-5")
SHARED += ("algo.gamma=0.99", "algo.vf_coeff=0.5", "algo.entropy_coeff=0.01", "algo.max_grad_norm=0.5")
SHARED += ("algo.gae_lambda=0.95", "algo.normalize_advantages=true")
OURS = {  # what is typed
    "a2c": (
        "algo=a2c",
        *SHARED,
        "algo.num_envs=16",
        "algo.horizon=16",
        "algo.lr=5e-4",
        "algo.lr_schedule=constant",
    ),
    "ppo": (
        "algo=ppo",
        *SHARED,
        "algo.num_envs=8",
        "algo.horizon=128",
        "algo.lr=2.5e-4",
        "algo.lr_schedule=linear",
        "algo.minibatch_size=256",
        "algo.num_epochs=4",
        "algo.clip=0.1",
        "algo.clip_schedule=linear",
        "algo.vf_clip=null",
        "algo.kl_coeff=0",
    ),
}
# The same as Stable-Baselines3 calls it. Its value loss has no half, so that its vf_coef is half of algo.vf_coeff.
COMMON = {"gamma": 0.99, "vf_coef": 0.25, "ent_coef": 0.01, "max_grad_norm": 0.5, "eps": 1e-5}
COMMON |= {"gae_lambda": 0.95, "normalize_advantage": True}
THEIRS: dict[str, dict[str, Any]] = {
    "a2c": COMMON | {"num_envs": 16, "n_steps": 16, "learning_rate": 5e-4},
    "ppo": COMMON
    | {
        "num_envs": 8,
        "n_steps": 128,
        "learning_rate": 2.5e-4,
        "batch_size": 256,
        "n_epochs": 4,
        "clip_range": 0.1,
        "clip_range_vf": None,
    },
}
FALLING = {"a2c": (), "ppo": ("learning_rate", "clip_range")}  # these fall linearly to 0
WINDOW = 100  # games that a score is the mean of
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the budget, where the table has the curve


def train_ours(algo: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train an agent of this suite, or go on with it; return its curve and its speed."""
    folder, log = options.out / "runs", options.out / f"{algo}_{OURS_NAME}_{seed}.log"
    words = [*OURS[algo], f"seed={seed}", f"stop.agent_steps={options.agent_steps}", "evaluate=false", "resume=auto"]
    words += [f"cluster.cpus={options.threads}", f"output_dir={folder}"]
    with run_process([sys.executable, "run.py", *words], ROOT, log) as process:
        run = Path(wait_output(process, log)[-1].removeprefix("run directory: "))
    rows = [row for row in read_rows(run / PROGRESS_CSV) if float(row["episodes"]) >= WINDOW]
    curve = [(int(row["agent_steps"]), float(row["episode_return_mean"])) for row in rows]
    last = read_rows(run / PROGRESS_CSV)[-1]
    return {"curve": curve, "agent_steps": int(last["agent_steps"]), "elapsed_s": float(last["wall_time_s"])}


def train_theirs(algo: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train an agent of Stable-Baselines3, or go on with it; return its curve and its speed."""
    path, log = (options.out / f"{algo}_{THEIRS_NAME}_{seed}.{ending}" for ending in ("part.json", "log"))
    words = [f"--algo={algo}", f"--seed={seed}", f"--agent-steps={options.agent_steps}", f"--out={path.resolve()}"]
    words += [f"--threads={options.threads}", f"--vectorize={options.vectorize}"]
    words += [f"--sb3-path={options.sb3_path}"] if options.sb3_path else []
    with run_process([sys.executable, "-m", "benchmarks.sb3_learner", *words], ROOT, log) as process:
        wait_output(process, log)
    result = json.loads(path.read_text())
    path.unlink()
    return result | {"curve": smooth(result["games"])}


def smooth(games: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Return the mean score of the last 100 games after each game from the hundredth on, with its agent steps."""
    steps, scores = [step for step, _ in games], [score for _, score in games]
    means = np.convolve(scores, np.full(WINDOW, 1 / WINDOW), "valid") if len(scores) >= WINDOW else []
    return [(step, float(mean)) for step, mean in zip(steps[WINDOW - 1 :], means, strict=True)]


def read_curve(curve: list[tuple[int, float]], agent_steps: float) -> float:
    """Return the last score of a curve at or before a number of agent steps; NaN before its first."""
    return next((score for step, score in reversed(curve) if step <= agent_steps), float("nan"))


TRAIN = {OURS_NAME: train_ours, THEIRS_NAME: train_theirs}


def train_all(options: argparse.Namespace, machine: dict[str, Any]) -> dict[str, dict[str, list[dict]]]:
    """Train every agent that is not done; return algorithm -> contestant -> what was measured of each seed."""
    results: dict[str, dict[str, list[dict]]] = {}
    for algo in options.algos:
        results[algo] = {name: [] for name in TRAIN}
        for seed in options.seeds:
            for name, train in TRAIN.items():
                path = options.out / f"{algo}_{name}_{seed}_{options.agent_steps}.json"
                if not path.exists():
                    print(f"{algo}, {name}, seed {seed}: {options.agent_steps:,} agent steps", flush=True)
                    found = train(algo, seed, options) | {"machine": machine, "threads": options.threads}
                    write_file(path, json.dumps(found) + "\n")
                results[algo][name].append(read_json(path, dict))
    return results


def describe(results: dict[str, dict[str, list[dict]]], seeds: list[int], agent_steps: int) -> str:
    """Return comparison.md: of each algorithm the scores, the curves, the verdict and the speed."""
    lines = []
    for algo, of_algo in results.items():
        heads = [f"{share * agent_steps:,.0f}" for share in SHARES]
        lines += [f"## {algo.upper()}, mean of the last {WINDOW} full games after so many agent steps", ""]
        lines += [f"| contestant | seed | {' | '.join(heads)} | agent steps/s |"]
        lines += ["|---|---|" + "---:|" * (len(heads) + 1)]
        scores: dict[str, list[float]] = {}
        for name, found in of_algo.items():
            for seed, one in zip(seeds, found, strict=True):
                points = [read_curve(one["curve"], share * agent_steps * 1.001) for share in SHARES]
                cells = [f"{point:,.1f}" for point in points] + [f"{one['agent_steps'] / one['elapsed_s']:,.0f}"]
                lines.append(f"| {name} | {seed} | {' | '.join(cells)} |")
                scores.setdefault(name, []).append(points[-1])
        few = any(np.isnan(score) for of_name in scores.values() for score in of_name)
        verdicts = [] if few else [verdict.describe() for verdict in compare_arms(scores)]
        lines += ["", *(verdicts or [f"no verdict: an agent has not finished {WINDOW} games"]), ""]
    return "\n".join(lines)


def parse_arguments() -> argparse.Namespace:
    """Return the arguments, with the folder `--out` made."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--algos", nargs="+", choices=list(OURS), default=list(OURS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--agent-steps", type=parse_count, default=1_000_000, help="of each agent")
    parser.add_argument("--threads", type=parse_count, default=1, help="CPU threads of each agent")
    parser.add_argument(
        "--vectorize",
        choices=["dummy", "subproc"],
        default="dummy",
        help="whether each game of Stable-Baselines3 has a process",
    )
    sb3_speed.add_path(parser)
    parser.add_argument("--out", type=Path, default=Path("bench_out/learning"))
    options = parser.parse_args()
    if not sb3_speed.check_path(parser, options.sb3_path):
        parser.error("without Stable-Baselines3 there is nothing to compare with")
    if len(set(options.seeds)) < len(options.seeds):
        parser.error(f"--seeds {' '.join(map(str, options.seeds))}: a seed is there twice")
    options.out = options.out.resolve()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {options.out}: no folder can be made there ({error.strerror})")
    how = {"threads": options.threads, "vectorize": options.vectorize, "suite_settings": OURS, "sb3_settings": THEIRS}
    how = json.loads(json.dumps(how))  # as it is read back
    before = read_json(kept, dict) if (kept := options.out / "how.json").exists() else how
    if other := [name for name in how if before.get(name) != how[name]]:
        parser.error(
            f"--out {options.out}: agents there were trained with other {' and '.join(other)}; type another --out"
        )
    write_file(kept, json.dumps(how) + "\n")
    return options


def main() -> None:
    options = parse_arguments()
    machine = begin()["machine"]
    text = describe(train_all(options, machine), options.seeds, options.agent_steps)
    (options.out / "comparison.md").write_text(text)
    print(f"\n{text}\neverything: {options.out}")


if __name__ == "__main__":
    run_main(main)
