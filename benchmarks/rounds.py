"""Contestants that take turns: each in a fresh process, round by round, and the table of what came out.

    round 1: a b c    round 2: c b a    round 3: a b c    ->    a / b within each round    ->    median, min .. max

Machines drift by 10 % and more within minutes, so two numbers are compared within a round, and the order turns round
every time. This module holds what the benchmarks share; `benchmarks/throughput.py` is the first of `make bench`.
"""

import argparse
import contextlib
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from benchmarks.processes import adopt_orphans, list_descendants, read_pss_mib, run_process
from cluster.plan import MAX_CPUS
from environments.machine import count_cpus, get_memory_bytes
from run_directory.layout import PROGRESS_CSV
from run_directory.writing import explain_unwritable, write_file
from settings.mistakes import Mistake

ROOT = Path(__file__).resolve().parent.parent
ISA_LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")  # make PyTorch leave out instructions that the CPU has
Contestant = Callable[[Path], dict]  # from an empty folder to what was measured, agent_steps_per_s among it


# Arguments and results ------------------------------------------------------------------------------------


def make_parser(story: str | None, out: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments that all benchmarks take."""
    parser = argparse.ArgumentParser(
        description=story, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    rounds = parser.add_mutually_exclusive_group()
    rounds.add_argument("--rounds", type=parse_count, default=3)
    rounds.add_argument("--quick", action="store_true", help="one short round, to see that it works; not for quoting")
    parser.add_argument("--out", type=parse_output_path, default=str(Path("bench_out") / out))
    return parser


def parse_with_overrides(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """Return the arguments, and the overrides, which the run gets; its directory is the benchmark's to choose."""
    settings, overrides = parser.parse_known_args()
    for word in overrides:
        if word.startswith("-") or word.startswith("output_dir="):
            parser.error(f"unrecognized argument: {word}")
    return settings, overrides


def parse_count(text: str) -> int:
    """Return a number of rounds, agent steps, threads, ...: 1 or more."""
    with contextlib.suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text}: a whole number from 1 on")


def parse_positive(text: str) -> float:
    """Return a number above 0, such as a time in the option's unit."""
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text}: a number above 0")


def parse_output_path(text: str) -> Path:
    """Return the path of a JSON file that can be written; looked at before anything is measured."""
    if Path(text).suffix != ".json":  # figures are written beside it, under the same name
        raise argparse.ArgumentTypeError(f"{text}: its name has to end in .json")
    if why := explain_unwritable(Path(text)):
        raise argparse.ArgumentTypeError(f"{text} cannot be written ({why})")
    return Path(text)


def parse_input_path(text: str) -> Path:
    """Return the path of a file that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text}: there is no such file")
    return Path(text)


def run_main(main: Callable[[], None]) -> NoReturn:
    """Run a benchmark and end the process.

    A signal becomes an exception, so that processes and temporary directories are cleaned up; a mistake of the user,
    such as a model that does not exist, is a sentence.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        main()
        sys.exit()
    except KeyboardInterrupt:
        sys.exit(130)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(2)


def begin() -> dict:
    """Prepare this process for contestants and return the beginning of a result."""
    adopt_orphans()
    machine = describe_machine()
    print(json.dumps(machine), flush=True)
    if machine["load_before"] > machine["cores"] / 2:
        print(
            f"the load over the last minute was {machine['load_before']:.1f}: if other programs compute here, end them "
            "and measure again",
            file=sys.stderr,
        )
    return {"machine": machine}


def measure_rounds(
    result: dict,
    num_rounds: int,
    take_round: Callable[[int], dict],
    summarize: Callable[[list[dict]], dict[str, list[float]]],
    out: Path,
) -> None:
    """Take rounds, and write the result to `out` at the end.

    After each round it is written to a file beside `out`, which stays where a later round fails or is interrupted.

    Args:
        result: gets `rounds`, and `summary`, their table.
        num_rounds: how many.
        take_round: from the number of a round, from 0 on, to what was measured in it.
        summarize: from all rounds to the lines of the table.
        out: the JSON file of the result.
    """
    rounds, written, unfinished = [], 0, out.with_suffix(".part.json")
    result["rounds"] = rounds
    try:
        while len(rounds) < num_rounds:
            rounds.append(take_round(len(rounds)))
            write_json(result, unfinished)
            written = len(rounds)
            result["summary"] = summarize(rounds)
            write_json(result, unfinished)
        unfinished.replace(out)
    finally:
        if written:
            print(f"\n{format_table(result.get('summary', {}))}\n")
            print(f"{written} of {num_rounds} rounds are in {unfinished if unfinished.exists() else out}", flush=True)


def take_turns(contestants: Mapping[str, Contestant], number: int) -> dict:
    """Run all contestants in one round, in reverse order where its number is odd.

    Returns:
        Name -> what was measured.
    """
    measured = {}
    for name in list(contestants)[:: -1 if number % 2 else 1]:
        measured[name] = run_alone(contestants[name])
        print(f"round {number + 1}, {name}: {measured[name]['agent_steps_per_s']:,.0f} agent steps/s", flush=True)
    return measured


def run_alone(contestant: Contestant) -> dict:
    """Run one contestant in a temporary folder and return what it measured."""
    with tempfile.TemporaryDirectory(prefix="bench_") as folder:
        return contestant(Path(folder))


def write_json(result: dict, out: Path) -> None:
    """Write a result as JSON, in one piece."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, json.dumps(result, indent=1) + "\n")


def describe_machine() -> dict:
    """Return what the numbers depend on: date, CPU, cores, memory, load, versions and commit."""
    cpu = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*: (.*)", cpu, re.M)
    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
        commit = git.stdout.strip()
    except FileNotFoundError:  # no git here
        commit = ""
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpu": name[1] if name else platform.machine(),
        "cores": count_cpus(),
        "bf16_instructions": sorted({"avx512_bf16", "amx_bf16", "bf16"} & set(cpu.split())),
        "isa_limits": {name: os.environ[name] for name in ISA_LIMITS if name in os.environ},
        "memory_gib": round(get_memory_bytes() / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {p: importlib.metadata.version(p) for p in ("torch", "ray", "ale-py", "gymnasium", "numpy")},
        "commit": commit or None,
    }


# Contestants --------------------------------------------------------------------------------------------------------


def wait_output(process: subprocess.Popen, log: Path) -> list[str]:
    """Wait until a contestant has ended and return the lines that it printed.

    Raises:
        SystemExit: it failed; the last lines of its log are the message.
    """
    if process.wait():
        raise SystemExit(f"{read_tail(log)}\n\n{process.args}: exit code {process.returncode}")
    return log.read_text(errors="replace").splitlines()


def read_tail(log: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-30:])


def count_threads() -> int:
    """Return how many threads a contestant computes with: as many as a run of the suite takes by itself."""
    return min(count_cpus(), MAX_CPUS)


def explain_failing_import(modules: Sequence[str], path: str | None, first: bool = False) -> str | None:
    """Return why another Python cannot import modules, the last line of its error; None if it can.

    Args:
        modules: their names.
        path: a folder that it looks into as well.
        first: whether what is there hides packages of .venv.
    """
    places = [path] if path else []
    order = f"{places} + sys.path" if first else f"sys.path + {places}"
    code = f"import sys; sys.path = {order}; import {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1] if done.returncode else None


def run_module(module: str, folder: Path, *arguments: str) -> dict:
    """Run another file of this folder and return the JSON line that it prints last."""
    log = folder / "log.txt"
    with run_process([sys.executable, "-m", f"benchmarks.{module}", "--json", *arguments], ROOT, log) as process:
        return next(json.loads(line) for line in reversed(wait_output(process, log)) if line.startswith("{"))


def run_suite(
    folder: Path,
    warm_up: int,
    agent_steps: int,
    *overrides: str,
    sample_memory: bool = False,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> dict:
    """Train through the suite's real command and read its run directory.

    Args:
        warm_up: agent steps that are played first and not counted, rounded up to a row of progress.csv.
        agent_steps: those that come after.
        overrides: the experiment, as one types it.
        variables: of the environment, added for this run.

    Returns:
        agent_steps_per_s after the warm-up; timed_s, how long that took; start_s, from process start to the first row
        of progress.csv; peak_pss_mib, the largest sum over the driver and all processes below it, sampled every 0.5 s
        (None unless asked for: sampling costs speed); last_row of progress.csv.
    """
    log, start_s, peak, next_sample_at = folder / "log.txt", None, None, 0.0
    command = [sys.executable, "run.py", "seed=1", "evaluate=false", *overrides]
    command += [f"stop.agent_steps={warm_up + agent_steps}", f"output_dir={folder / 'run'}"]
    start = time.monotonic()
    with run_process(command, ROOT, log, variables) as process:
        while process.poll() is None:
            time.sleep(0.05)
            if start_s is None and find_begun(folder):
                start_s = time.monotonic() - start
            if sample_memory and time.monotonic() >= next_sample_at:
                next_sample_at = time.monotonic() + 0.5
                peak = max(peak or 0.0, sum(read_pss_mib(p.pid) for p in list_descendants()))
        lines = wait_output(process, log)
    run_directory = Path(lines[-1].removeprefix("run directory: "))
    with (run_directory / PROGRESS_CSV).open() as file:
        steps_per_s, timed_s, last = compute_speed(list(csv.DictReader(file)), warm_up)
    return {
        "agent_steps_per_s": steps_per_s,
        "timed_s": timed_s,
        "start_s": start_s,
        "peak_pss_mib": peak,
        "last_row": last,
    }


def find_begun(folder: Path) -> list[Path]:
    """Return the progress.csv of each run below a folder that has its first row.

    Folders of checkpoints come and go meanwhile; `Path.rglob` fails where one has just gone.
    """
    found = [Path(root, PROGRESS_CSV) for root, _, names in os.walk(folder) if PROGRESS_CSV in names]
    return [path for path in found if has_row(path)]


def has_row(progress: Path) -> bool:
    """Return whether a progress.csv is the suite's, not Ray Tune's, and has its first row."""
    header, _, rows = progress.read_text().partition("\n")
    return "agent_steps_per_s" in header.split(",") and "\n" in rows


def compute_speed(rows: list[dict], warm_up: int) -> tuple[float, float, dict]:
    """Return the agent steps/s and the seconds from the first row of progress.csv after the warm-up to the last, and
    the last row."""
    warm, last = next(row for row in rows if float(row["agent_steps"]) >= warm_up), rows[-1]
    timed_steps, timed_s = (float(last[key]) - float(warm[key]) for key in ("agent_steps", "wall_time_s"))
    return timed_steps / timed_s, timed_s, last


# Numbers ------------------------------------------------------------------------------------------------------------


def list_speeds(rounds: list[dict], name: str) -> list[float]:
    """Return the agent steps/s of one contestant in each round."""
    return [measured[name]["agent_steps_per_s"] for measured in rounds]


def divide_rounds(above: list[float], below: list[float]) -> list[float]:
    """Return the ratio of two contestants in each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def format_table(lines: dict[str, list[float]]) -> str:
    """Return a Markdown table of median and range, aligned for a terminal."""
    rows = [["", "median", "min .. max", "n"], ["---", "---:", "---:", "---:"]]
    for name, values in lines.items():
        low, middle, high = (format_number(x) for x in (min(values), statistics.median(values), max(values)))
        rows.append([name, middle, f"{low} .. {high}", str(len(values))])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    cells = ([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def format_number(x: float) -> str:
    """Return a number with three digits, or with all that it has before the point."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"
