"""How fast are A2C and A3C here, and what does an LSTM cost? Beside a bare loop and Stable-Baselines3.

    python -m benchmarks.actor_critics            # three rounds, 25 minutes on two cores; the second of `make bench`
    python -m benchmarks.actor_critics --quick    # one short round, to see that it works; not for quoting

    A2C 16 x 5     bare loop | this suite | with an LSTM of 256 | Stable-Baselines3, envs in one process, in one each
    A2C 64 x 20    bare loop | this suite | with an LSTM of 256
    A3C 64 x 20    two workers in two processes, 32 envs each, with A2C's epsilon and norm
    PPO 8 x 128    this suite | with an LSTM of 256

All on Assault with the Nature CNN. How it is measured: `benchmarks/rounds.py`. Stable-Baselines3 is optional; without
it, its rows are left out, and a line says so. To have them:

    pip install --target sb3 --no-deps stable-baselines3 && make bench SB3=sb3
"""

from benchmarks import sb3_speed
from benchmarks.rounds import (
    Contestant,
    begin,
    divide_rounds,
    list_speeds,
    make_parser,
    measure_rounds,
    run_main,
    run_module,
    run_suite,
    take_turns,
)

SMALL, LARGE = ("algo.num_envs=16", "algo.horizon=5"), ("algo.num_envs=64", "algo.horizon=20")
A3C = ("algo=a3c", *LARGE, "algo.num_workers=2", "cluster.num_env_runners=2")
A3C += ("algo.optimizer_eps=1e-5", "algo.max_grad_norm=0.5")
LSTM = "model.lstm_size=256"
SUITE = {  # contestant -> what is typed, agent steps timed: 10 seconds and more each
    "a2c_16x5": (("algo=a2c", *SMALL), 40_000),
    "a2c_16x5_lstm": (("algo=a2c", *SMALL, LSTM), 40_000),
    "a2c_64x20": (("algo=a2c", *LARGE), 51_200),
    "a2c_64x20_lstm": (("algo=a2c", *LARGE, LSTM), 51_200),
    "a3c_64x20": (A3C, 51_200),
    "ppo_8x128": (("algo=ppo",), 16_384),
    "ppo_8x128_lstm": (("algo=ppo", LSTM), 16_384),
}
WARM_UP = 5_120  # agent steps of the suite: two or three rows of progress.csv


def make_bare_loop(envs: int, horizon: int, agent_steps: int) -> Contestant:
    """Return the A2C of benchmarks/bare_loop.py, one epoch and one minibatch, as a contestant."""
    shape = [f"--num-envs={envs}", f"--horizon={horizon}", "--epochs=1", f"--minibatch={envs * horizon}"]
    updates = f"--updates={agent_steps // (envs * horizon)}"
    return lambda folder: run_module("bare_loop", folder, "--algo=a2c", *shape, updates)


def make_suite(overrides: tuple[str, ...], warm_up: int, agent_steps: int) -> Contestant:
    """Return an experiment of this suite as a contestant."""
    words = (*overrides, "env=assault", "model=nature_cnn")
    return lambda folder: run_suite(folder, warm_up, agent_steps, *words)


def summarize(rounds: list[dict]) -> dict[str, list[float]]:
    """Return the lines of the table: label with unit -> one number per round."""
    speed = {name: list_speeds(rounds, name) for name in rounds[0]}
    return {
        "A2C 16 x 5, bare loop, agent steps/s": speed["bare_16x5"],
        "A2C 16 x 5, suite": speed["a2c_16x5"],
        "A2C 16 x 5, suite / bare loop": divide_rounds(speed["a2c_16x5"], speed["bare_16x5"]),
        "A2C 16 x 5 with an LSTM, suite": speed["a2c_16x5_lstm"],
        "A2C 16 x 5, time with an LSTM / without": divide_rounds(speed["a2c_16x5"], speed["a2c_16x5_lstm"]),
        **sb3_speed.summarize(speed, "a2c_16x5", "A2C 16 x 5, "),
        "A2C 64 x 20, bare loop, agent steps/s": speed["bare_64x20"],
        "A2C 64 x 20, suite": speed["a2c_64x20"],
        "A2C 64 x 20, suite / bare loop": divide_rounds(speed["a2c_64x20"], speed["bare_64x20"]),
        "A3C 2 processes x 32 x 20, suite": speed["a3c_64x20"],
        "A3C 2 processes x 32 x 20 / A2C 64 x 20": divide_rounds(speed["a3c_64x20"], speed["a2c_64x20"]),
        "A2C 64 x 20 with an LSTM, suite": speed["a2c_64x20_lstm"],
        "A2C 64 x 20, time with an LSTM / without": divide_rounds(speed["a2c_64x20"], speed["a2c_64x20_lstm"]),
        "PPO 8 x 128, suite": speed["ppo_8x128"],
        "PPO 8 x 128 with an LSTM, suite": speed["ppo_8x128_lstm"],
        "PPO 8 x 128, time with an LSTM / without": divide_rounds(speed["ppo_8x128"], speed["ppo_8x128_lstm"]),
    }


def main() -> None:
    parser = make_parser(__doc__, "actor_critics.json")
    sb3_speed.add_path(parser)
    settings = parser.parse_args()
    with_sb3 = sb3_speed.check_path(parser, settings.sb3_path)
    num_rounds, shorter = (1, 10) if settings.quick else (settings.rounds, 1)
    warm_up = WARM_UP // min(shorter, 2)
    result = begin() | {"agent_steps": {name: steps // shorter for name, (_, steps) in SUITE.items()}}

    def make_ours(name: str) -> Contestant:
        words, steps = SUITE[name]
        return make_suite(words, warm_up, steps // shorter)

    # What is compared stands side by side, because machines drift.
    contestants = sb3_speed.make_contestants("a2c", settings.sb3_path, 8000 // shorter) if with_sb3 else {}
    contestants["a2c_16x5"] = make_ours("a2c_16x5")
    contestants["a2c_16x5_lstm"] = make_ours("a2c_16x5_lstm")
    contestants["bare_16x5"] = make_bare_loop(16, 5, 40_000 // shorter)
    contestants["bare_64x20"] = make_bare_loop(64, 20, 51_200 // shorter)
    contestants["a2c_64x20"] = make_ours("a2c_64x20")
    contestants |= {name: make_ours(name) for name in ("a2c_64x20_lstm", "a3c_64x20", "ppo_8x128", "ppo_8x128_lstm")}
    measure_rounds(result, num_rounds, lambda number: take_turns(contestants, number), summarize, settings.out)


if __name__ == "__main__":
    run_main(main)
