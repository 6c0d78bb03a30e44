"""A contestant that may be missing: CleanRL's ppo_atari_envpool.py on Assault, its file as it is published.

    pip install --target cleanrl --no-deps envpool==1.0.1 gym==0.23.1 gym-notices dm-env optree tyro shtab \\
        docstring-parser typeguard
    cd cleanrl; curl -LO https://github.com/vwxyzjn/cleanrl/raw/fe8d8a0/cleanrl/ppo_atari_envpool.py; cd ..
    python -m benchmarks.cleanrl_speed --cleanrl-path cleanrl

All that the script needs besides, .venv has. Its defaults are the shape of this suite's PPO: 8 envs x 128 steps, 4
epochs of minibatches of 256, the Nature CNN, float32. EnvPool plays the games in threads of its own, one for each core
and at most 8, and torch has as many threads.

Other versions of EnvPool: beside NumPy 2, 0.8.4 ignores actions, so that all its games are the same; 1.2.5 needs large
packages of other games.

The script prints a line after each update, and the speed is taken from when these lines come.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.rounds import Contestant, count_threads, explain_failing_import, parse_count, run_main, run_module

SCRIPT = "ppo_atari_envpool.py"
PACKAGES = ("envpool", "gym", "tyro")  # that it imports and .venv has not
UPDATE = re.compile(r"SPS: \d+$")  # what the script prints after each update
STEPS_PER_UPDATE = 8 * 128
WARM_UP_UPDATES = 2


def check_path(parser: argparse.ArgumentParser, path: str | None) -> bool:
    """Return whether a folder was given; say so if none was. End the program if the script or what it imports is not
    there."""
    if path:
        check_script(parser, path)
    if path and (why := explain_failing_import(PACKAGES, str(Path(path).resolve()), first=True)):
        parser.error(
            f"--cleanrl-path {path}: what {SCRIPT} needs is not there ({why}); see benchmarks/cleanrl_speed.py"
        )
    if not path:
        print("CleanRL is left out: benchmarks/cleanrl_speed.py says how to get it, then make bench CLEANRL=cleanrl")
    return bool(path)


def check_script(parser: argparse.ArgumentParser, path: str) -> None:
    """End the program if the script is not there."""
    if not Path(path, SCRIPT).is_file():
        parser.error(f"--cleanrl-path {path}: there is no {SCRIPT}; benchmarks/cleanrl_speed.py says how to get it")


def make_contestants(path: str, updates: int) -> dict[str, Contestant]:
    """Return the script as a contestant, by the name that it has in a round."""
    words = [f"--cleanrl-path={Path(path).resolve()}", f"--updates={updates}"]
    return {"cleanrl": lambda folder: run_module("cleanrl_speed", folder, *words)}


def time_updates(lines: Iterable[str]) -> list[float]:
    """Return when each update of the script was done, in seconds of time.perf_counter."""
    return [time.perf_counter() for line in lines if UPDATE.match(line.strip())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cleanrl-path", required=True, help="the folder with the script and the packages it needs")
    parser.add_argument("--updates", type=parse_count, default=10, help="timed ones, after warm-up")
    parser.add_argument("--json", action="store_true", help="print one JSON line as well, last")
    settings = parser.parse_args()
    check_script(parser, settings.cleanrl_path)
    script = Path(settings.cleanrl_path, SCRIPT).resolve()
    total = (WARM_UP_UPDATES + settings.updates) * STEPS_PER_UPDATE
    words = ["--env-id=Assault-v5", f"--total-timesteps={total}", "--no-cuda"]
    variables = os.environ | {"PYTHONPATH": str(script.parent), "PYTHONUNBUFFERED": "1"}
    variables["OMP_NUM_THREADS"] = str(count_threads())
    with (
        tempfile.TemporaryDirectory(prefix="cleanrl_") as folder,
        subprocess.Popen(
            [sys.executable, str(script), *words], cwd=folder, env=variables, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        try:
            done = time_updates(process.stdout or ())
        except BaseException:  # which would wait for the script's end
            process.kill()
            raise
    if process.returncode or len(done) != WARM_UP_UPDATES + settings.updates:
        sys.exit(f"{script}: exit code {process.returncode} after {len(done)} updates")
    elapsed, agent_steps = done[-1] - done[WARM_UP_UPDATES - 1], settings.updates * STEPS_PER_UPDATE
    print(f"CleanRL on EnvPool, PPO 8x128: {agent_steps / elapsed:,.0f} agent steps/s")
    if settings.json:
        print(
            json.dumps({"agent_steps_per_s": agent_steps / elapsed, "agent_steps": agent_steps, "elapsed_s": elapsed})
        )


if __name__ == "__main__":
    run_main(main)
