"""How fast is this suite here? Speed, memory, traffic and start-up, measured in one run on one machine.

    python -m benchmarks.throughput            # three rounds, half an hour on two cores; the first of `make bench`
    python -m benchmarks.throughput --quick    # one short round, to see that it works; not for quoting

    first         this suite with its memory sampled | this suite with one remote runner
    each round    bare loop, then E, I, G alone | suite's PPO | Stable-Baselines3's in two ways | CleanRL's on EnvPool
                  | stock RLlib's in three

Every contestant trains PPO on Assault, 8 envs x 128 steps, 4 epochs of minibatches of 256, Nature CNN, in a fresh
process, and warm-up is not counted. The suite and the bare loop compute in the dtype that the CPU is fastest at, the
others in float32. Every other round has the reverse order. Stable-Baselines3 and CleanRL are optional:
`benchmarks/actor_critics.py` and `benchmarks/cleanrl_speed.py` say how to get them.

Machines drift by 10 % and more within minutes, so a ratio is taken within a round; quote its median and range over the
rounds. Prints a Markdown table, and writes everything measured as JSON to `--out`. It asserts nothing. Linux only.
"""

from benchmarks import cleanrl_speed, sb3_speed
from benchmarks.rounds import (
    begin,
    divide_rounds,
    list_speeds,
    make_parser,
    measure_rounds,
    run_alone,
    run_main,
    run_module,
    run_suite,
    take_turns,
)

STEPS_PER_UPDATE = 8 * 128
WARM_UP = 4 * STEPS_PER_UPDATE  # the suite's: two rows of progress.csv
PPO = ("algo=ppo", "env=assault")


def summarize(rounds: list[dict], memory: dict, remote: dict) -> dict[str, list[float]]:
    """Return the lines of the table: label with unit -> one number per measurement."""
    bare = [r["bare_loop"] for r in rounds]
    speed = {"limit": [b["limit"] for b in bare], "bare loop": list_speeds(rounds, "bare_loop")}
    for name, key in {
        "this suite": "suite",
        "stock RLlib": "stock_rllib",
        "stock RLlib, 1 thread": "stock_1_thread",
        "stock RLlib, its padding": "stock_its_padding",
    }.items():
        speed[name] = list_speeds(rounds, key)

    sb3 = {name: list_speeds(rounds, name) for name in rounds[0] if name == "suite" or name.startswith("sb3_")}

    def divide(a: str, b: str) -> list[float]:
        return divide_rounds(speed[a], speed[b])

    return {
        "E, emulator alone, agent steps/s": [b["E"] for b in bare],
        "I, acting alone, samples/s": [b["I"] for b in bare],
        "G, training alone, samples/s": [b["G"] for b in bare],
        "limit, 1 / (1/E + 1/I + 4/G), agent steps/s": speed["limit"],
        "bare loop, agent steps/s": speed["bare loop"],
        "this suite, agent steps/s": speed["this suite"],
        **sb3_speed.summarize(sb3, "suite", ""),
        **summarize_cleanrl(rounds, speed["this suite"]),
        "stock RLlib, agent steps/s": speed["stock RLlib"],
        "stock RLlib with 1 thread, as Tune starts it, agent steps/s": speed["stock RLlib, 1 thread"],
        "stock RLlib with 1 thread and its own padding, agent steps/s": speed["stock RLlib, its padding"],
        "this suite / bare loop": divide("this suite", "bare loop"),
        "this suite / stock RLlib": divide("this suite", "stock RLlib"),
        "this suite / stock RLlib with 1 thread": divide("this suite", "stock RLlib, 1 thread"),
        "this suite / stock RLlib with 1 thread and its own padding": divide("this suite", "stock RLlib, its padding"),
        "this suite / limit": divide("this suite", "limit"),
        "bare loop / limit": divide("bare loop", "limit"),
        "start to first row of progress.csv, s": [r["suite"]["start_s"] for r in rounds],
        "peak memory of all processes, MiB PSS": [memory["peak_pss_mib"]],
        "one remote runner, agent steps/s": [remote["agent_steps_per_s"]],
        "one remote runner, bytes per agent step": [float(remote["last_row"]["bytes_per_agent_step"])],
    }


def summarize_cleanrl(rounds: list[dict], suite: list[float]) -> dict[str, list[float]]:
    """Return the lines of CleanRL's script: label -> one number per round; none if it took no part."""
    if "cleanrl" not in rounds[0]:
        return {}
    cleanrl = list_speeds(rounds, "cleanrl")
    return {
        "CleanRL on EnvPool, agent steps/s": cleanrl,
        "this suite / CleanRL on EnvPool": divide_rounds(suite, cleanrl),
    }


def main() -> None:
    parser = make_parser(__doc__, "throughput.json")
    sb3_speed.add_path(parser)
    parser.add_argument("--cleanrl-path", help="the folder with CleanRL's script and what it needs")
    settings = parser.parse_args()
    with_cleanrl = cleanrl_speed.check_path(parser, settings.cleanrl_path)
    with_sb3 = sb3_speed.check_path(parser, settings.sb3_path)
    num_rounds, updates, iterations = (1, 6, 1) if settings.quick else (settings.rounds, 40, 5)
    result = begin() | {"updates": updates, "stock_iterations": iterations}
    steps, half = ((WARM_UP, n * STEPS_PER_UPDATE) for n in (updates, updates // 2))
    stock = f"--iterations={iterations}"

    memory = run_alone(lambda folder: run_suite(folder, *half, *PPO, sample_memory=True))
    remote = run_alone(lambda folder: run_suite(folder, *half, *PPO, "cluster.num_env_runners=1"))
    result |= {"memory": memory, "remote": remote}
    contestants = {
        "bare_loop": lambda folder: run_module("bare_loop", folder, f"--updates={updates}"),
        "suite": lambda folder: run_suite(folder, *steps, *PPO),
        **(sb3_speed.make_contestants("ppo", settings.sb3_path, half[1] // 4) if with_sb3 else {}),
        **(cleanrl_speed.make_contestants(settings.cleanrl_path, updates // 4 or 1) if with_cleanrl else {}),
        "stock_rllib": lambda folder: run_module("stock_rllib", folder, stock),
        "stock_1_thread": lambda folder: run_module("stock_rllib", folder, stock, "--threads=1"),
        "stock_its_padding": lambda folder: run_module("stock_rllib", folder, stock, "--threads=1", "--padding=same"),
    }
    measure_rounds(
        result,
        num_rounds,
        lambda number: take_turns(contestants, number),
        lambda rounds: summarize(rounds, memory, remote),
        settings.out,
    )


if __name__ == "__main__":
    run_main(main)
