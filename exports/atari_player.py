"""Plays whole games of Atari with the policy beside this file, and prints their scores.

    pip install ale-py numpy onnxruntime                     torch instead of onnxruntime for policy.pt
    python play.py --games 3 --seed 1 --way greedy

agent.json says what goes into the policy and what comes out, what the actions are called, the rules of the games, and
the versions of the packages it was tried with.
"""

import argparse
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

try:
    import numpy as np
    from ale_py import roms
    from ale_py._ale_py import ALEVectorInterface  # `from ale_py` itself offers it only where Gymnasium is installed
except ImportError as error:
    raise SystemExit(f"{error.name} is missing: pip install ale-py numpy onnxruntime") from None

FOLDER = Path(__file__).resolve().parent
Arrays = dict[str, np.ndarray]


class Game:
    """A game of Atari under the rules of agent.json. A lost life does not end it, and rewards are not clipped.

    ALE itself repeats actions, takes the maximum of the last two frames, and shrinks and stacks the pictures.
    """

    def __init__(self, agent: dict):
        env, actions = agent["env"], agent["actions"]
        self.fire = actions.index("FIRE") if env["fire_on_life_loss"] and "FIRE" in actions else None
        self.ale = ALEVectorInterface(
            rom_path=roms.get_rom_path(env["game"]),
            num_envs=1,
            frame_skip=env["frameskip"],
            stack_num=env["frame_stack"],
            img_height=env["dim"],
            img_width=env["dim"],
            grayscale=env["grayscale"],
            maxpool=True,
            noop_max=env["noop_max"],
            use_fire_reset=env["fire_reset"],
            episodic_life=False,
            life_loss_info=False,
            reward_clipping=False,
            max_episode_steps=env["max_episode_frames"],
            repeat_action_probability=env["sticky"],
            full_action_space=env["full_action_space"],
            batch_size=0,
            num_threads=1,
            thread_affinity_offset=-1,
            autoreset_mode="SameStep",
        )

    def reset(self, seed: int) -> np.ndarray:
        """Begin a game and return its first observation, uint8 [1, frames, height, width], the newest frame last."""
        observation, info = self.ale.reset(np.array([0]), np.array([seed]))
        self.lives, self.life_lost = info["lives"][0], False
        return observation

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        """Play one action; return the next observation, the reward, and whether the game is over."""
        if self.life_lost and self.fire is not None:  # many games wait for FIRE after a lost life
            action = self.fire
        self.ale.send(np.array([action]), np.ones(1, np.float32))
        observation, rewards, terminated, truncated, info = self.ale.recv()
        self.life_lost, self.lives = 0 < info["lives"][0] < self.lives, info["lives"][0]
        return observation, float(rewards[0]), bool(terminated[0] or truncated[0])


def choose_action(outputs: Arrays, way: str, random: np.random.Generator) -> int:
    """Return the number of an action: drawn by the policy's probabilities, or the likeliest where `way` is greedy."""
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
