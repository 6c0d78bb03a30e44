"""What travels between learner and env runners, counted in bytes on the cable of the host that plays.

    python -m benchmarks.traffic            # root and iproute2; three rounds, 5 minutes on two cores
    python -m benchmarks.traffic --quick    # one

    head: training process     <-- rollouts --     host: 1 env runner | 4 env runners, 8 envs of Assault either way
                                --  weights -->

A rollout should be no more than 7056 (T + 4) / T + 64 bytes per agent step, and weights should come once per update
however many env runners the host has. What the hosts say to each other besides is measured while nothing runs, and left
out. Bytes are counted with the headers of the large segments that a virtual cable carries; Ethernet would add 66 bytes
to every 1448, 4.6 %.
"""

import time
from pathlib import Path

from benchmarks.hosts import Host, explain_missing
from benchmarks.light_cluster import Run, start_cluster, wait_quiet
from benchmarks.rounds import begin, divide_rounds, make_parser, measure_rounds, run_main, take_turns

HORIZON, NUM_ENVS = 128, 8
COUNTS = (1, 4)  # env runners on the host
PICTURE, STACK, REST = 84 * 84, 4, 64  # bytes, pictures, bytes
SKIPPED, COUNTED, SPARE = 2, 10, 4  # updates: until processes are warm; after; in case that one moment was missed
IDLE_S = 10


def compute_bound(horizon: int) -> float:
    """Return how many bytes per agent step a rollout of pixels may have: each picture once, and little beside it."""
    return PICTURE * (horizon + STACK) / horizon + REST


def measure_idle_traffic(host: Host) -> tuple[float, float]:
    """Return the bytes/s that a host of an idle cluster receives and sends."""
    before, start = host.read_traffic(), time.monotonic()
    time.sleep(IDLE_S)
    received, sent = (b - a for a, b in zip(before, host.read_traffic(), strict=True))
    return received / (time.monotonic() - start), sent / (time.monotonic() - start)


def wait_between_updates(run: Run, host: Host, num_rows: int) -> tuple[list[dict[str, str]], tuple[int, int]]:
    """Wait for a moment between two updates, when weights have arrived and no rollout has left.

    Returns:
        The rows of progress.csv, and the bytes that the host has received and sent, both of that moment.
    """
    while True:
        rows = run.wait_rows(num_rows)
        moved = wait_quiet(host)
        if len(run.read_progress()) == len(rows):
            return rows, moved
        num_rows = len(rows) + 1


def measure_traffic(
    hosts: list[Host],
    folder: Path,
    runners: int,
    idle: tuple[float, float],
    counted: int = COUNTED,
) -> dict:
    """Train PPO on Assault, the learner on the first host, all env runners on the second, and measure what is sent.

    Args:
        runners: the number of env runners.
        idle: bytes/s received and sent by an idle cluster, which are left out.
        counted: the updates that are measured.

    Returns:
        received_per_update: bytes, to the host that plays; sent_per_agent_step: bytes, from there;
        payload_per_agent_step, as progress.csv has it; agent_steps_per_s.
    """
    steps = NUM_ENVS * HORIZON
    words = ["env=assault", f"algo.num_envs={NUM_ENVS}", f"algo.horizon={HORIZON}", "algo.num_epochs=1"]
    words += [f"cluster.num_env_runners={runners}", f"cluster.cpus_per_runner={1 / runners}"]
    words += ["report_every=1", f"stop.agent_steps={(SKIPPED + counted + SPARE) * steps}"]  # a row per update
    run = Run(hosts, folder, *words)
    first, before = wait_between_updates(run, hosts[1], SKIPPED)
    start = time.monotonic()
    last, after = wait_between_updates(run, hosts[1], len(first) + counted)
    seconds = time.monotonic() - start
    run.wait_end()
    updates = len(last) - len(first)
    agent_steps = int(last[-1]["agent_steps"]) - int(first[-1]["agent_steps"])  # rows that only restart a game are none
    received, sent = (b - a - rate * seconds for a, b, rate in zip(before, after, idle, strict=True))
    return {
        "received_per_update": received / updates,
        "sent_per_agent_step": sent / agent_steps,
        "payload_per_agent_step": float(last[-1]["bytes_per_agent_step"]),
        "agent_steps_per_s": agent_steps / seconds,
    }


def summarize(rounds: list[dict]) -> dict[str, list[float]]:
    """Return the lines of the table: label -> one number per round."""

    def list_values(runners: int, what: str) -> list[float]:
        return [measured[f"{runners}"][what] for measured in rounds]

    lines = {}
    for n in COUNTS:
        lines[f"env runners: {n}, sent, bytes per agent step"] = list_values(n, "sent_per_agent_step")
        lines[f"env runners: {n}, of which rollouts"] = list_values(n, "payload_per_agent_step")
        lines[f"env runners: {n}, received, kB per update"] = [x / 1e3 for x in list_values(n, "received_per_update")]
    few, many = (list_values(n, "received_per_update") for n in COUNTS)
    return lines | {f"received, {COUNTS[1]} env runners / {COUNTS[0]}": divide_rounds(many, few)}


def main() -> None:
    parser = make_parser(__doc__, "traffic.json")
    settings = parser.parse_args()
    if why := explain_missing():
        parser.error(why)
    result = begin() | {"horizon": HORIZON, "bound": compute_bound(HORIZON), "updates": COUNTED}
    folder = settings.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    with start_cluster(2, folder, learner_alone=True) as hosts:
        result["idle_bytes_per_s"] = idle = measure_idle_traffic(hosts[1])
        contestants = {f"{n}": lambda folder, n=n: measure_traffic(hosts, folder, n, idle) for n in COUNTS}
        print(f"at most {compute_bound(HORIZON):,.1f} bytes per agent step are allowed; idle, bytes/s: {idle}")
        num_rounds = 1 if settings.quick else settings.rounds
        measure_rounds(result, num_rounds, lambda number: take_turns(contestants, number), summarize, settings.out)


if __name__ == "__main__":
    run_main(main)
