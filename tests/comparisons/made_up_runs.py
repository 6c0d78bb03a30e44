"""Run directories of games that nobody has played, as far as a comparison reads them."""

import json
from pathlib import Path

import yaml

from settings.protocols import PROTOCOLS

COLUMNS = ["agent_steps", "env_frames", "wall_time_s", "agent_steps_per_s", "episodes", "episode_return_mean"]


def write_run(run: Path, scores: list, *, game="assault", seed=1, protocol="classic", algo="ppo", budget=None) -> Path:
    """A run that reported one score per 1,000 agent steps and played 10 games between reports; its budget is what it
    has played, if none is given. Games with a version, such as CartPole-v1, are Gymnasium's."""
    run.mkdir(parents=True)
    env: dict = {"name": game.partition("-v")[0].lower(), "id": game, "frameskip": 1, "clip_rewards": False}
    if "-v" not in game:
        env = {"name": game, "game": game, "protocol": protocol, "frameskip": 4} | PROTOCOLS[protocol]
    stop = {"agent_steps": budget or 1000 * len(scores), "time_s": None, "episode_return": None}
    settings = {"seed": seed, "algo": {"name": algo}, "env": env, "model": {"dtype": "float32"}, "stop": stop}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    rows = [[1000 * i, 4000 * i, 2.0 * i, 500, 10 * i, score] for i, score in enumerate(scores, 1)]
    lines = [",".join(map(str, row)) for row in [COLUMNS, *rows]]
    (run / "progress.csv").write_text("\n".join(lines) + "\n")
    (run / "run.json").write_text(json.dumps({"starts": []}))
    return run


def write_seeds(folder: Path, scores: list[float], **words) -> Path:
    """Runs of several seeds, each with its score at the end."""
    for seed, score in enumerate(scores, 1):
        one = write_run(folder / f"seed_{seed}", [score] * 3, seed=seed, **words)
        (folder / "config.yaml").write_text((one / "config.yaml").read_text())
    return folder
