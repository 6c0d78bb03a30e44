"""The subject of an audit: the live objects of an experiment, in this process, as a training builds them.

settings -> plan -> RLlib config -> Algorithm: env runner, learner, network -> one Rollout, random games
"""

import copy
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Discrete
from ray.rllib.core import DEFAULT_MODULE_ID

from algorithms.a3c import A3CRunner
from cluster.plan import make_plan
from environments.games import Games, Transition, make_games
from rollouts.private_ray import get_local_learner
from rollouts.rollout import Rollout, RolloutData
from run_directory.weights import read_weights
from runs.build import build_config
from settings.algorithms import find_base

ALONE = {"num_env_runners": 0, "num_learners": 0, "gpus_per_learner": 0, "gpus_per_runner": 0, "cpus": 1}
RANDOM_ENVS, RANDOM_STEPS = 8, 2_000


class RandomPlay(NamedTuple):
    """Games of random actions: what each step led to, and which actions were chosen."""

    transitions: list[Transition]  # one per step, of all envs
    actions: list[np.ndarray]  # int [N], what was asked for
    played: list[np.ndarray]  # int [N], what the emulator got
    ignored: list[np.ndarray]  # bool [N], whether the games said beforehand that they would ignore the action


class FirstUpdate(NamedTuple):
    """What a learner did in one update."""

    minibatches: list[dict[str, torch.Tensor]]  # that its loss read, in order
    gradients: list[float]  # root mean square of the gradient's numbers, one per step of the optimizer
    parameters: int  # how many tensors of weights there are
    still: list[str]  # names of those that have not changed


class Subject:
    """An experiment and its live objects.

    Args:
        settings: checked settings of the experiment.
        checkpoint: the checkpoint whose weights are audited, without its optimizer; None: those of a new network.
        agent_steps: how long the last probes train, to see whether the policy moves.

    Attributes:
        words: what the experiment is, which decides the probes that apply: the algorithm, atari or gymnasium, ...
    """

    def __init__(self, settings: dict, checkpoint: Path | None = None, agent_steps: int = 20_000):
        self.agent_steps = agent_steps
        self.settings = copy.deepcopy(settings) | {"cluster": settings["cluster"] | ALONE}
        self.env, self.algo_name = self.settings["env"], find_base(self.settings["algo"])
        self.plan = make_plan(self.settings)
        self.config = build_config(self.plan)
        self.algorithm: Any = self.config.build_algo()
        self.algo = self.algorithm.config.algo
        self.learner: Any = get_local_learner(self.algorithm.learner_group)
        self.net: Any = self.learner.net
        if checkpoint:  # weights alone: of a published agent there is no more, and they are no pickle
            weights = {name: torch.as_tensor(array) for name, array in read_weights(checkpoint).items()}
            self.net.load_state_dict(weights)
        runner: Any = self.algorithm.env_runner_group.local_env_runner
        self.runner: Any = next(iter(runner.workers.values())) if isinstance(runner, A3CRunner) else runner
        self.atari = "game" in self.env
        pair = "monte_carlo" if self.algo_name == "pg" else "actor_critic"
        self.words = {str(self.algo_name), "atari" if self.atari else "gymnasium", pair}
        self.words |= {"one_step"} if self.algo_name in ("pg", "a2c", "a3c") else set()
        self.discrete = isinstance(self.net.action_space, Discrete)
        self.words |= {"discrete"} if self.discrete else set()
        self.words |= {"recurrent"} if self.net.recurrent else set()
        self.words |= {self.settings["model"]["torso"], f"optimizer_{self.algo.optimizer}"}
        self.words |= {"fresh"} if checkpoint is None else set()

    def close(self) -> None:
        """End the env runners and the learner."""
        self.algorithm.stop()

    def copy_learner(self) -> Any:
        """Return a new learner, with the present weights and an optimizer that has taken no step."""
        games = make_games(self.env, 1, 1)
        games.close()
        learner: Any = self.config.build_learner(
            spaces={DEFAULT_MODULE_ID: (games.observation_space, games.action_space)}
        )
        learner.net.load_state_dict(self.net.state_dict())
        return learner

    def open_games(self, num_envs: int = 1, **rules: Any) -> Games:
        """Open games of the experiment, with other rules where they are named."""
        return make_games(self.env | rules, num_envs, 1)

    @cached_property
    def rollout(self) -> Rollout:
        """One Rollout of the runner, by the present weights."""
        return self.runner.sample()

    @cached_property
    def batch(self) -> dict[str, torch.Tensor]:
        """The columns of the Rollout as the learner loads them: [T, N, ...]."""
        return self.learner.load([self.rollout])

    @cached_property
    def random_play(self) -> RandomPlay:
        """Random play in RANDOM_ENVS envs, until each has ended a game, at most RANDOM_STEPS steps each."""
        games, rng = self.open_games(RANDOM_ENVS), np.random.default_rng(1)
        games.reset(1)
        space = games.action_space
        space.seed(1)
        play, ended = RandomPlay([], [], [], []), np.zeros(RANDOM_ENVS, bool)
        while not ended.all() and len(play.actions) < RANDOM_STEPS:
            if self.discrete:
                actions = rng.integers(0, self.count_actions(), RANDOM_ENVS)
            else:
                actions = np.stack([space.sample() for _ in range(RANDOM_ENVS)])
            play.ignored.append(games.ignores_next.copy())
            play.played.append(np.array(games.played_actions(actions)))
            play.actions.append(actions)
            play.transitions.append(games.step(actions))
            ended |= play.transitions[-1].finished
        games.close()
        return play

    @cached_property
    def first_update(self) -> "FirstUpdate":
        """The first update from the Rollout, by a learner with the present weights."""
        learner = self.copy_learner()
        before = {name: p.detach().clone() for name, p in learner.net.named_parameters()}
        gradients, move = [], learner.move_weights

        def record() -> None:
            numbers = torch.cat([p.grad.flatten() for p in learner.parameters if p.grad is not None])
            gradients.append(float(numbers.square().mean().sqrt()))
            move()

        learner.move_weights = record
        minibatches = self.record_update(learner)
        still = [name for name, p in learner.net.named_parameters() if torch.equal(p, before[name])]
        return FirstUpdate(minibatches, gradients, len(before), still)

    def count_actions(self) -> int:
        """Return the number of discrete actions."""
        return int(self.net.action_space.n)

    def record_update(self, learner: Any) -> list[dict[str, torch.Tensor]]:
        """Let a learner of `copy_learner` update itself from the Rollout; returns its minibatches, in order."""
        minibatches, forward = [], learner.forward

        def record(minibatch: dict[str, torch.Tensor]) -> Any:
            minibatches.append({name: column.clone() for name, column in minibatch.items()})
            return forward(minibatch)

        learner.forward = record
        learner.update(training_data=RolloutData([self.rollout]), timesteps={"progress": 0.0})
        learner.forward = forward
        return minibatches

    def train(self, agent_steps: int) -> int:
        """Train for at least so many agent steps; returns how many they were. `last_row` is the row of that time."""
        progress = self.algorithm.progress
        start = progress.agent_steps
        self.algorithm.config.report_every = agent_steps
        while progress.agent_steps - start < agent_steps:
            result = self.algorithm.step()
            self.last_row: dict[str, Any] = result["row"]
            if result.get("done") and "failure" in result:
                raise RuntimeError(result["failure"])
        return progress.agent_steps - start
