"""Plays whole games of a Gymnasium environment with the policy beside this file, and prints their scores.

    pip install gymnasium numpy onnxruntime                  torch instead of onnxruntime for policy.pt
    python play.py --games 3 --seed 1 --way greedy

agent.json says what goes into the policy and what comes out, what the actions are, and the versions of the packages it
was tried with.
"""

import argparse
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import gymnasium
    import numpy as np
except ImportError as error:
    raise SystemExit(f"{error.name} is missing: pip install gymnasium numpy onnxruntime") from None

FOLDER = Path(__file__).resolve().parent
Arrays = dict[str, np.ndarray]


class Game:
    """A game of the environment of agent.json."""

    def __init__(self, agent: dict):
        self.env, self.actions = gymnasium.make(agent["env"]["id"]), agent["actions"]
        self.dtype = agent["policy"]["inputs"][0]["dtype"]

    def reset(self, seed: int) -> np.ndarray:
        """Begin a game and return its first observation, [1, ...]."""
        return np.asarray(self.env.reset(seed=seed)[0], self.dtype)[None]

    def step(self, action: Any) -> tuple[np.ndarray, float, bool]:
        """Play one action; return the next observation, the reward, and whether the game is over."""
        if isinstance(self.actions, dict):  # continuous
            low, high = (np.array(self.actions[end], float) for end in ("low", "high"))  # null: NaN, no bound
            action = np.fmin(np.fmax(action, low), high).astype(self.env.action_space.dtype)
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return np.asarray(observation, self.dtype)[None], float(reward), bool(terminated or truncated)


def choose_action(outputs: Arrays, way: str, random: np.random.Generator) -> Any:
    """Return an action: drawn from the policy, or the likeliest where `way` is greedy."""
    if "mean" in outputs:  # float32 [D]
        mean, noise = outputs["mean"][0], random.standard_normal(outputs["mean"][0].shape, np.float32)
        return mean if way == "greedy" else mean + outputs["std"][0] * noise
    probabilities = outputs["probabilities"][0].astype(float)
    if way == "greedy":
        return int(probabilities.argmax())
    return int(random.choice(len(probabilities), p=probabilities / probabilities.sum()))


def load_policy(agent: dict) -> Callable[[Arrays], Arrays]:
    """Return the policy as a function of its inputs, name -> array, to its outputs, name -> array."""
    path, names = FOLDER / agent["policy"]["file"], agent["policy"]["outputs"]
    if path.suffix == ".onnx":
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise SystemExit("onnxruntime is missing: pip install onnxruntime") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # more would mostly wait for each other: the network is small
        session = onnxruntime.InferenceSession(str(path), options)
        compute: Any = session.run  # it says that it may return more than arrays
        return lambda inputs: dict(zip(names, compute(names, inputs), strict=True))
    try:
        import torch
    except ImportError:
        raise SystemExit("torch is missing: pip install torch") from None
    module = torch.jit.load(str(path))

    def run(inputs: Arrays) -> Arrays:
        return dict(zip(names, (x.numpy() for x in module(*map(torch.tensor, inputs.values()))), strict=True))

    return run


def play_game(agent: dict, policy: Callable[[Arrays], Arrays], game: Game, seed: int, way: str) -> tuple[float, int]:
    """Play a whole game; return its score and its length in steps."""
    random, score, steps, is_over = np.random.default_rng(seed), 0.0, 0, False
    state = {one["name"]: np.zeros((1, *one["shape"][1:]), np.float32) for one in agent["policy"]["inputs"][1:]}
    observation = game.reset(seed)
    while not is_over:
        outputs = policy({"observation": observation} | state)
        state = {name: outputs[f"next_{name}"] for name in state}  # of an LSTM
        observation, reward, is_over = game.step(choose_action(outputs, way, random))
        score, steps = score + reward, steps + 1
    return score, steps


def main() -> None:
    """Play the games that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=3, help="number of games")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first game; the next has the next number")
    parser.add_argument("--way", choices=("stochastic", "greedy"), default="stochastic", help="how actions are chosen")
    options = parser.parse_args()
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # play.py | head ends quietly
    if options.games < 1 or not 0 <= options.seed <= 2**31 - options.games:
        parser.error("--games takes 1 or more, and --seed 0 to 2,147,483,648 less the games")
    agent = json.loads((FOLDER / "agent.json").read_text())
    policy, game, scores = load_policy(agent), Game(agent), []
    for seed in range(options.seed, options.seed + options.games):
        score, steps = play_game(agent, policy, game, seed, options.way)
        scores.append(score)
        print(f"seed {seed}: score {score:g} in {steps:,} steps", flush=True)
    print(f"mean score of {len(scores)} games, {options.way}: {np.mean(scores):,.1f}")


if __name__ == "__main__":
    main()
