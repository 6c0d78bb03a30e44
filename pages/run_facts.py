"""Facts about a run for its page: title, score, learning curves, commands, machines and settings.

run directory -> config.yaml, progress.csv, run.json, evaluations -> plain data that run_page.html draws
"""

import re
import shlex
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from environments.passwords import mask_passwords
from environments.screen import format_score
from evidence.curves import SCORE, choose_rows
from evidence.evaluate import DEFAULT_EPISODES
from evidence.human import find_random_score, find_references
from playing.evaluations import read_evaluations
from playing.kept_evaluations import find_evaluation, read_agent_file
from probes.audit_file import read_audit
from run_directory.checkpoints import MIN_GAMES, read_totals
from run_directory.layout import AGENT, PROGRESS_CSV, format_command
from run_directory.progress_table import NoRows, read_progress
from run_directory.starts import find_starts
from settings.mistakes import format_count
from settings.protocols import describe_protocol

COLUMNS = ("agent_steps", "wall_time_s", SCORE)
CURVES = {  # column of progress.csv -> its name on the page
    SCORE: "score, the mean of the last 100 games, or of all so far",
    "policy_loss": "policy loss",
    "value_loss": "value loss",
    "entropy": "entropy of the policy, in nats",
    "approx_kl": "KL divergence of an update",
    "explained_variance": "explained variance of the values",
    "agent_steps_per_s": "agent steps per second",
}


def describe_run(settings: dict, run: Path, checkpoint: Path) -> dict[str, Any]:
    """Return the head of the page: the title, the score of a checkpoint, and facts in sentences."""
    env, budget = settings["env"], settings.get("stop", {}).get("agent_steps")
    totals = read_totals(checkpoint)
    steps = totals.get("agent_steps")
    facts = [
        (f"Protocol {describe_protocol(env)}, seed" if "protocol" in env else "Seed")
        + f" {settings['seed']}, model {settings['model']['torso']}"
        + (f" with an LSTM of {settings['model']['lstm_size']}" if settings["model"].get("lstm_size") else "")
        + (f"; trained for {steps:,} agent steps" if isinstance(steps, int) else "")
        + (f" of {budget:,}." if isinstance(budget, int) else "."),
    ]
    if random := find_random_score(env):
        facts.append(f"Random play scores {random.source}.")
    if known := find_references(env):
        facts.append("Humans score " + ", ".join(f"{one.human:,g} ({one.table})" for one in known) + ".")
    if (run / AGENT).is_file() and not (run / PROGRESS_CSV).exists():
        facts.append("This is a published agent: the curves and clips of its training are not kept with it.")
    return {"title": make_title(settings), "score": find_score(run, checkpoint, totals), "facts": facts}


def make_title(settings: dict) -> str:
    """Return the algorithm and the environment of a run: `PPO on Ms pacman`, `PPO on CartPole` for CartPole-v1."""
    env = settings["env"]
    if "id" in env:  # in its own spelling, without module, namespace and version
        name = re.sub(r"-v\d+$", "", re.split("[:/]", env["id"])[-1])
    else:
        name = env["name"].replace("_", " ").capitalize()
    return f"{settings['algo']['name'].upper()} on {name}"


def find_score(run: Path, checkpoint: Path, totals: dict[str, Any]) -> dict[str, Any]:
    """Return the mean score of a checkpoint and a sentence about it.

    It is the score of its evaluation, with an interval, or if there is none that of the last games of training.
    """
    if result := find_evaluation(run, checkpoint):
        for way in ("stochastic", "greedy"):
            if isinstance(found := result.get(way), dict):
                how = f"the mean of {format_count(result['episodes'], 'full game')}, {way}"
                if result["episodes"] >= MIN_GAMES and found["iqm_interval"]:
                    low, high = map(format_score, found["iqm_interval"])
                    how += f"; their interquartile mean is {format_score(found['iqm'])}, 95 % interval {low} to {high}"
                return {"mean": found["mean"], "how": how}
    mean = totals.get(SCORE)
    mean = mean if isinstance(mean, int | float) and np.isfinite(mean) else None
    games = totals.get("episodes")
    games = games if isinstance(games, int | float) and np.isfinite(games) else 100
    last = f"the mean of the last {format_count(int(min(100, games)), 'game')} of training"
    return {
        "mean": mean,
        "how": (last if games else "as no game of training has ended yet")
        + f"; command=evaluate plays {DEFAULT_EPISODES} for an interval",
    }


def read_curves(settings: dict, run: Path) -> dict[str, Any]:
    """Return the curves of the page, with few enough points to draw, and the scores they are compared with.

    Returns:
        axes: `agent_steps` and `wall_time_s` of each point.
        curves: `name` and `values` of each curve, the score first; None where there is no value.
        lines: `name` and `score` of random play and of humans whose score is not far above the curve.
        evaluations: `agent_steps` and `wall_time_s` at which weights were taken, and `mean`, `low` and `high` of the
            games that were played with them while the run trained; None for the ends of an interval of one game.
    """
    try:
        progress = read_progress(run, COLUMNS, [name for name in CURVES if name not in COLUMNS])
    except NoRows:
        return {"axes": {"agent_steps": [], "wall_time_s": []}, "curves": [], "lines": [], "evaluations": []}
    rows = choose_rows(len(progress["agent_steps"]))
    axes = {name: progress[name][rows].tolist() for name in ("agent_steps", "wall_time_s")}
    curves = [
        {"name": name, "values": [float(f"{y:.5g}") if np.isfinite(y) else None for y in progress[column][rows]]}
        for column, name in CURVES.items()
        if column in progress
    ]
    random, scores = find_random_score(settings["env"]), progress[SCORE][np.isfinite(progress[SCORE])]
    lines = [{"name": f"random play {random.score:g}", "score": random.score}] if random else []
    for one in find_references(settings["env"]):
        if len(scores) and one.human < scores.max() + abs(scores.max()):
            lines.append({"name": f"human {one.human:g} ({one.table})", "score": one.human})
    if evaluations := place_evaluations(run, progress):
        curves[0]["name"] += "; dots: means of evaluations, with 95 % intervals"
    return {"axes": axes, "curves": curves, "lines": lines, "evaluations": evaluations}


def place_evaluations(run: Path, progress: dict[str, np.ndarray]) -> list[dict[str, float | None]]:
    """Return the `evaluations` of `read_curves`, each at the time of training at which its weights were taken."""
    found = []
    for one in read_evaluations(run):
        values = {name: getattr(one, name) for name in ("agent_steps", "mean", "low", "high")}
        values["wall_time_s"] = float(np.interp(one.agent_steps, progress["agent_steps"], progress["wall_time_s"]))
        found.append({name: value if np.isfinite(value) else None for name, value in values.items()})
    return found


def describe_origin(settings: dict, run: Path) -> dict[str, Any]:
    """Return the commands, commits and machines of a run, its settings, and the date of the page."""
    starts = []
    for start in mask_passwords(find_starts(run) or read_agent_file(run).get("starts", [])):
        git = start.get("git") or {"commit": "no git checkout", "dirty": False}
        command = start["command"] if isinstance(start["command"], str) else shlex.join(start["command"])
        commit = git["commit"] + (", changed" if git["dirty"] else "")
        facts = {"commit": commit} | start["hardware"] | start["packages"]
        if settings.get("cluster", {}).get("gpus_per_learner") and "gpu" not in facts:
            facts |= {"gpu": "of a kind that was not recorded"}
        starts.append(f"{command}\n\n" + ", ".join(f"{name} {value}" for name, value in facts.items() if value))
    return {
        "starts": list(dict.fromkeys(starts)) or ["not recorded"],
        "audit": describe_audit(run),
        "settings": yaml.safe_dump(mask_passwords(settings), sort_keys=False),
        "made": f"This page was made on {time.strftime('%Y-%m-%d')} by python run.py command=page run=<this run>.",
    }


def describe_audit(run: Path) -> dict[str, Any]:
    """Return title and lines of a run's audit; without one, how to make it.

    Raises:
        Mistake: its file is damaged.
    """
    if (content := read_audit(run)) is None:
        return {"title": "Not audited yet", "lines": [format_command("command=audit", f"run={run}")]}
    lines = [f"{a['status']:8}{a['subject']}: {a['question']} ({a['found']})" for a in content["answers"]]
    numbers = ", ".join(f"{n} {status}" for status, n in Counter(a["status"] for a in content["answers"]).items())
    at = f" at {content['agent_steps']:,} agent steps" if content.get("checkpoint") else ""  # not of earlier versions
    return {"title": f"Audit{at}: {numbers}", "lines": lines}
