"""How fast is this suite here? Speed, memory, traffic and start-up, measured in one run on one machine.

    python -m benchmarks.throughput            # five rounds, 20 minutes on two cores; `make bench`
    python -m benchmarks.throughput --quick    # two short rounds, to see that it works; not for quoting

    first         this suite with its memory sampled | this suite with one remote runner
    each round    bare loop, then E, I, G alone | suite's PPO | stock RLlib's PPO in three ways  (then in reverse order)

Every contestant trains PPO on Assault, 8 envs x 128 steps, 4 epochs of minibatches of 256, Nature CNN, in a fresh
process, and warm-up is not counted. Machines drift by 10 % and more within minutes, so a ratio is taken within a round;
quote its median and range over the rounds. Comes out: a Markdown table, and everything measured as JSON in `--out`.
It asserts nothing. Linux only.
"""

import argparse
import csv
import datetime
import importlib.metadata
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.processes import adopt_orphans, descendants, pss_mib, started

ROOT = Path(__file__).resolve().parent.parent
STEPS_PER_UPDATE = 8 * 128
WARM_UP_UPDATES = 4  # the suite's: two rows of progress.csv


def finished(process: subprocess.Popen, log: Path) -> list[str]:
    """Wait for the end; returns the lines printed, and stops everything if the contestant failed."""
    if process.wait():
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise SystemExit(f"{tail}\n\n{process.args}: exit code {process.returncode}")
    return log.read_text(errors="replace").splitlines()


def run_module(module: str, folder: Path, *arguments: str) -> dict:
    """Run one of the other files here; returns the JSON line it prints last."""
    log = folder / "log.txt"
    with started([sys.executable, "-m", f"benchmarks.{module}", "--json", *arguments], ROOT, log) as process:
        return next(json.loads(line) for line in reversed(finished(process, log)) if line.startswith("{"))


def run_suite(updates: int, folder: Path, *overrides: str, sample_memory: bool = False) -> dict:
    """Train through the suite's real command and read its run directory.

    Returns:
        agent_steps_per_s after the warm-up; start_s, from process start to the first row of progress.csv;
        peak_pss_mib, the largest sum over the driver and all processes below it, sampled every 0.5 s (None unless asked
        for: sampling costs speed); last_row of progress.csv.
    """
    log, start_s, peak, next_sample_at = folder / "log.txt", None, None, 0.0
    agent_steps = (WARM_UP_UPDATES + updates) * STEPS_PER_UPDATE
    command = [sys.executable, "run.py", "algo=ppo", "env=assault", "seed=1", "evaluate=false", *overrides]
    command += [f"stop.agent_steps={agent_steps}", f"output_dir={folder / 'run'}"]
    start = time.monotonic()
    with started(command, ROOT, log) as process:
        while process.poll() is None:
            time.sleep(0.05)
            if start_s is None and any(has_row(path) for path in folder.rglob("progress.csv")):
                start_s = time.monotonic() - start
            if sample_memory and time.monotonic() >= next_sample_at:
                next_sample_at = time.monotonic() + 0.5
                peak = max(peak or 0.0, sum(pss_mib(p.pid) for p in descendants()))
        lines = finished(process, log)
    run_directory = Path(lines[-1].removeprefix("run directory: "))
    with (run_directory / "progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    warm, last = next(r for r in rows if float(r["agent_steps"]) >= WARM_UP_UPDATES * STEPS_PER_UPDATE), rows[-1]
    timed_steps, timed_s = (float(last[key]) - float(warm[key]) for key in ("agent_steps", "wall_time_s"))
    return {"agent_steps_per_s": timed_steps / timed_s, "start_s": start_s, "peak_pss_mib": peak, "last_row": last}


def has_row(progress: Path) -> bool:
    """Whether this progress.csv, the suite's and not Tune's, has its first row."""
    header, _, rows = progress.read_text().partition("\n")
    return "agent_steps_per_s" in header.split(",") and "\n" in rows


def machine() -> dict:
    """What the numbers depend on."""
    cpu = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.*)", cpu, re.M)
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": name[1] if name else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "bf16_instructions": sorted({"avx512_bf16", "amx_bf16", "bf16"} & set(cpu.split())),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": os.getloadavg()[0],  # much above 0 somebody else was computing: measure again
        "python": platform.python_version(),
        "versions": {p: importlib.metadata.version(p) for p in ("torch", "ray", "ale-py", "gymnasium", "numpy")},
        "commit": git.stdout.strip() or None,
    }


def summary(rounds: list[dict], memory: dict, remote: dict) -> dict[str, list[float]]:
    """The lines of the table: what it is, with its unit, and one number per measurement."""
    bare = [r["bare_loop"] for r in rounds]
    speed = {"limit": [b["limit"] for b in bare], "bare loop": [b["agent_steps_per_s"] for b in bare]}
    for name, key in {
        "this suite": "suite",
        "stock RLlib": "stock_rllib",
        "stock RLlib, 1 thread": "stock_1_thread",
        "stock RLlib, its padding": "stock_its_padding",
    }.items():
        speed[name] = [r[key]["agent_steps_per_s"] for r in rounds]

    def ratio(a: str, b: str) -> list[float]:
        return [x / y for x, y in zip(speed[a], speed[b], strict=True)]

    return {
        "E, emulator alone, agent steps/s": [b["E"] for b in bare],
        "I, acting alone, samples/s": [b["I"] for b in bare],
        "G, training alone, samples/s": [b["G"] for b in bare],
        "limit, 1 / (1/E + 1/I + 4/G), agent steps/s": speed["limit"],
        "bare loop, agent steps/s": speed["bare loop"],
        "this suite, agent steps/s": speed["this suite"],
        "stock RLlib, agent steps/s": speed["stock RLlib"],
        "stock RLlib with 1 thread, as Tune starts it, agent steps/s": speed["stock RLlib, 1 thread"],
        "stock RLlib with 1 thread and its own padding, agent steps/s": speed["stock RLlib, its padding"],
        "this suite / bare loop": ratio("this suite", "bare loop"),
        "this suite / stock RLlib": ratio("this suite", "stock RLlib"),
        "this suite / stock RLlib with 1 thread": ratio("this suite", "stock RLlib, 1 thread"),
        "this suite / stock RLlib with 1 thread and its own padding": ratio("this suite", "stock RLlib, its padding"),
        "this suite / limit": ratio("this suite", "limit"),
        "bare loop / limit": ratio("bare loop", "limit"),
        "start to first iteration, s": [r["suite"]["start_s"] for r in rounds],
        "peak memory of all processes, MiB PSS": [memory["peak_pss_mib"]],
        "one remote runner, agent steps/s": [remote["agent_steps_per_s"]],
        "one remote runner, bytes per agent step": [float(remote["last_row"]["bytes_per_agent_step"])],
    }


def table(lines: dict[str, list[float]]) -> str:
    """A Markdown table, aligned for a terminal."""
    rows = [["", "median", "min .. max", "n"], ["---", "---:", "---:", "---:"]]
    for name, values in lines.items():
        low, middle, high = (number(x) for x in (min(values), statistics.median(values), max(values)))
        rows.append([name, middle, f"{low} .. {high}", str(len(values))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def number(x: float) -> str:
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that it works")
    parser.add_argument("--out", type=Path, default=Path("bench_out/throughput.json"))
    settings = parser.parse_args()
    num_rounds, updates, iterations = (2, 6, 1) if settings.quick else (settings.rounds, 40, 5)

    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that `started` cleans up
    result = {"machine": machine(), "updates": updates, "stock_iterations": iterations, "rounds": []}
    print(json.dumps(result["machine"]), flush=True)

    with tempfile.TemporaryDirectory(prefix="throughput_") as temporary:

        def folder() -> Path:
            return Path(tempfile.mkdtemp(dir=temporary))

        contestants = {
            "bare_loop": lambda: run_module("bare_loop", folder(), f"--updates={updates}"),
            "suite": lambda: run_suite(updates, folder()),
            "stock_rllib": lambda: run_module("stock_rllib", folder(), f"--iterations={iterations}"),
            "stock_1_thread": lambda: run_module("stock_rllib", folder(), f"--iterations={iterations}", "--threads=1"),
            "stock_its_padding": lambda: run_module(
                "stock_rllib", folder(), f"--iterations={iterations}", "--threads=1", "--padding=same"
            ),
        }
        result["memory"] = run_suite(updates // 2, folder(), sample_memory=True)
        result["remote"] = run_suite(updates // 2, folder(), "cluster.num_env_runners=1")
        for i in range(num_rounds):
            measured = {}
            for name in list(contestants)[:: -1 if i % 2 else 1]:
                measured[name] = contestants[name]()
                print(f"round {i + 1}, {name}: {measured[name]['agent_steps_per_s']:,.0f} agent steps/s", flush=True)
            result["rounds"].append(measured)

    result["summary"] = summary(result["rounds"], result["memory"], result["remote"])
    print("\n" + table(result["summary"]))
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"\neverything measured: {settings.out}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
