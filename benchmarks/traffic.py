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

from benchmarks.hosts import Host, missing
from benchmarks.light_cluster import Run, cluster_of, settled
from benchmarks.rounds import begin, command_line, keep, ratio, run_main, take_turns

HORIZON, NUM_ENVS = 128, 8
COUNTS = (1, 4)  # env runners on the host
PICTURE, STACK, REST = 84 * 84, 4, 64  # bytes, pictures, bytes
SKIPPED, COUNTED, SPARE = 2, 10, 4  # updates: until processes are warm; after; in case that one moment was missed
IDLE_S = 10


def bound(horizon: int) -> float:
    """The most that a rollout of pixels may be, in bytes per agent step: each picture once, little beside it."""
    return PICTURE * (horizon + STACK) / horizon + REST


def chatter(host: Host) -> tuple[float, float]:
    """Bytes/s that a host of an idle cluster receives and sends."""
    before, start = host.traffic(), time.monotonic()
    time.sleep(IDLE_S)
    received, sent = (b - a for a, b in zip(before, host.traffic(), strict=True))
    return received / (time.monotonic() - start), sent / (time.monotonic() - start)


def between(run: Run, host: Host, num_rows: int) -> tuple[list[dict[str, str]], tuple[int, int]]:
    """Rows and bytes of one moment, after an update's weights have come and before its successor's rollouts go."""
    while True:
        rows = run.after(num_rows)
        moved = settled(host)
        if len(run.rows()) == len(rows):
            return rows, moved
        num_rows = len(rows) + 1


def play(
    hosts: list[Host],
    folder: Path,
    runners: int,
    idle: tuple[float, float],
    counted: int = COUNTED,
) -> dict:
    """PPO on Assault, the learner on the first host, all env runners on the second.

    Args:
        idle: bytes/s that are left out, received and sent.
        counted: updates.

    Returns:
        received_per_update: bytes, to the host that plays; sent_per_agent_step: bytes, from there;
        payload_per_agent_step, as progress.csv has it; agent_steps_per_s.
    """
    steps = NUM_ENVS * HORIZON
    words = ["env=assault", f"algo.num_envs={NUM_ENVS}", f"algo.horizon={HORIZON}", "algo.num_epochs=1"]
    words += [f"cluster.num_env_runners={runners}", f"cluster.cpus_per_runner={1 / runners}"]
    words += ["report_every=1", f"stop.agent_steps={(SKIPPED + counted + SPARE) * steps}"]  # a row per update
    run = Run(hosts, folder, *words)
    first, before = between(run, hosts[1], SKIPPED)
    start = time.monotonic()
    last, after = between(run, hosts[1], len(first) + counted)
    seconds = time.monotonic() - start
    run.end()
    updates = len(last) - len(first)
    agent_steps = int(last[-1]["agent_steps"]) - int(first[-1]["agent_steps"])  # rows that only restart a game are none
    received, sent = (b - a - rate * seconds for a, b, rate in zip(before, after, idle, strict=True))
    return {
        "received_per_update": received / updates,
        "sent_per_agent_step": sent / agent_steps,
        "payload_per_agent_step": float(last[-1]["bytes_per_agent_step"]),
        "agent_steps_per_s": agent_steps / seconds,
    }


def summary(rounds: list[dict]) -> dict[str, list[float]]:
    """The lines of the table, one number per round."""

    def values(runners: int, what: str) -> list[float]:
        return [measured[f"{runners}"][what] for measured in rounds]

    lines = {}
    for n in COUNTS:
        lines[f"env runners: {n}, sent, bytes per agent step"] = values(n, "sent_per_agent_step")
        lines[f"env runners: {n}, of which rollouts"] = values(n, "payload_per_agent_step")
        lines[f"env runners: {n}, received, kB per update"] = [x / 1e3 for x in values(n, "received_per_update")]
    few, many = (values(n, "received_per_update") for n in COUNTS)
    return lines | {f"received, {COUNTS[1]} env runners / {COUNTS[0]}": ratio(many, few)}


def main() -> None:
    parser = command_line(__doc__, "traffic.json")
    settings = parser.parse_args()
    if why := missing():
        parser.error(why)
    result = begin() | {"horizon": HORIZON, "bound": bound(HORIZON), "updates": COUNTED}
    folder = settings.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    with cluster_of(2, folder, learner_alone=True) as hosts:
        result["idle_bytes_per_s"] = idle = chatter(hosts[1])
        contestants = {f"{n}": lambda folder, n=n: play(hosts, folder, n, idle) for n in COUNTS}
        result["rounds"] = take_turns(contestants, 1 if settings.quick else settings.rounds)
    result["summary"] = summary(result["rounds"])
    print(f"at most {bound(HORIZON):,.1f} bytes per agent step are allowed; idle, bytes/s: {idle}")
    keep(result, settings.out)


if __name__ == "__main__":
    run_main(main)
