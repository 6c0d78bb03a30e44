"""The subject of an audit: the live objects of an experiment, in this process, as a training builds them.

settings -> plan -> RLlib config -> Algorithm: env runner, learner, network -> one Rollout, random games
"""

import copy
import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Discrete

from algorithms.a3c import A3CRunner
from cluster.plan import make_plan
from environments.games import Games, Transition, make_games
from probes.probe import Untested
from rollouts.private_ray import get_local_learner
from rollouts.rollout import Rollout, RolloutData
from run_directory.weights import read_weights
from runs.build import build_config
from settings.algorithms import find_base
from settings.mistakes import Mistake

ROW = "row_number"  # the column that is added to minibatches: t * N + n of a row of the Rollout
UNKNOWN_ROWS = "this learner chooses the rows of its loss by itself, so they are not known here"
ALONE = {
    "address": "local",
    "num_env_runners": 0,
    "num_learners": 0,
    "gpus_per_learner": 0,
    "gpus_per_runner": 0,
    "cpus": 1,
}
RANDOM_ENVS, RANDOM_STEPS = 8, 2_000
SHORT_GAME = 3  # agent steps, after which games are cut in `Subject.cut`


class RandomPlay(NamedTuple):
    """Games of random actions: what each step led to, and which actions were chosen."""

    transitions: list[Transition]  # one per step, of all envs
    actions: list[np.ndarray]  # int [N], what was asked for
    played: list[np.ndarray]  # int [N], what the emulator got
    ignored: list[np.ndarray]  # bool [N], whether the games said beforehand that they would ignore the action


class Acted(NamedTuple):
    """Two Rollouts in a row of a new env runner, which acts with the network of `Subject.spread_learner`."""

    first: Rollout
    second: Rollout
    transitions: list[Transition]  # one per step of the first


class Step(NamedTuple):
    """What a learner did in one step of the optimizer."""

    rows: torch.Tensor  # int [B], the ROW of everything that the loss read, in order
    weights: torch.Tensor | None  # float32 [P], all parameters before the step; None between the first and the last
    gradient: torch.Tensor | None  # float32 [P], before it was clipped
    applied: torch.Tensor | None  # float32 [P], the gradient that the optimizer got


class Update(NamedTuple):
    """What a learner did in one update."""

    minibatches: list[dict[str, torch.Tensor]]  # that its loss read, in order; with ROW
    gradients: list[float]  # root mean square of the gradient's numbers, one per step of the optimizer
    parameters: int  # how many tensors of weights there are
    still: list[str]  # names of those that have not changed
    steps: list[Step]


class RowsRead(Exception):
    """Ends an update when its minibatch has been seen."""


def flatten(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return a copy of all numbers, [P]."""
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def spread_heads(net: Any) -> None:
    """Give the heads of a network larger weights. At the first ones, which are nearly 0, entropy has no gradient, and
    every observation has the same policy."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for head in (net.policy, net.value):
            head.weight.copy_(torch.randn(head.weight.shape, generator=generator) / head.weight.shape[1] ** 0.5)


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
        self.own = self.settings["algo"].get("implementation")  # the user's module that has the learner
        self.learner: Any = get_local_learner(self.algorithm.learner_group)
        self.net: Any = self.learner.net
        if checkpoint:  # weights alone: of a published agent there is no more, and they are no pickle
            weights = {name: torch.as_tensor(array) for name, array in read_weights(checkpoint).items()}
            try:
                self.net.load_state_dict(weights)
            except RuntimeError as error:  # of other names, or other shapes
                raise Mistake(f"{checkpoint}: a checkpoint of another model; audit the run it was saved by") from error
        runner: Any = self.algorithm.env_runner_group.local_env_runner
        self.runner: Any = runner
        if isinstance(runner, A3CRunner):  # whose network is another than the learner's
            self.runner = next(iter(runner.workers.values()))
            runner.learner.set_flat_weights(self.learner.flatten_weights())
        self.atari = "game" in self.env
        pair = "monte_carlo" if self.algo_name == "pg" else "actor_critic"
        self.words = {str(self.algo_name), "atari" if self.atari else "gymnasium", pair}
        self.words |= {"one_step"} if self.algo_name in ("pg", "a2c", "a3c") else set()
        self.discrete = isinstance(self.net.action_space, Discrete)
        self.words |= {"discrete"} if self.discrete else set()
        self.words |= {"recurrent"} if self.net.recurrent else set()
        self.words |= {self.settings["model"]["torso"], f"optimizer_{self.algo.optimizer}"}
        self.words |= {"known_rule"} if self.algo_name in ("pg", "a2c", "a3c", "ppo") else set()
        self.words |= {"fresh"} if checkpoint is None else set()

    def close(self) -> None:
        """End the env runners and the learner."""
        self.algorithm.stop()

    def copy_learner(self) -> Any:
        """Return a new learner, with the present weights and an optimizer that has taken no step."""
        learner: Any = self.config.build_learner(spaces=self.runner.get_spaces())
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
    def spread_learner(self) -> Any:
        """A new learner with the present weights, but for heads that are spread: for observations of the Rollout, the
        numbers of the policy go up to 3 and the values to 1."""
        learner = self.copy_learner()
        net, obs = learner.net, self.batch["obs"].flatten(0, 1)[:64]
        spread_heads(net)
        with torch.no_grad():
            numbers, values = net.act(obs, net.pack(), net.make_initial_state(len(obs)))[:2]
            for head, seen, largest in ((net.policy, numbers[:, : net.policy.out_features], 3), (net.value, values, 1)):
                head.weight *= largest / max(1e-6, float(seen.abs().max()))
        return learner

    @cached_property
    def acted(self) -> Acted:
        """What an env runner plays with the network of `spread_learner`; Atari games are cut, so that many end."""
        return self.cut if self.atari else self.act({})

    @cached_property
    def cut(self) -> Acted:
        """The same in games that are cut after SHORT_GAME agent steps."""
        games: Any = self.runner.games
        if not self.atari and not games.same_step and hasattr(games._env, "max_episode_steps"):
            return self.act({}, SHORT_GAME)  # the vector that the environment brings along, such as CartPole's
        if not self.atari:
            return self.act({"kwargs": (self.env.get("kwargs") or {}) | {"max_episode_steps": SHORT_GAME}})
        frames = SHORT_GAME * self.env["frameskip"]
        return self.act({"max_episode_frames": frames, "noop_max": 0, "fire_reset": False})

    def act(self, rules: dict[str, Any], limit: int | None = None) -> Acted:
        """Return what a new env runner plays with the network of `spread_learner` under these `env.` settings.

        Args:
            rules: the settings that replace the experiment's.
            limit: agent steps after which a vector that the environment brings along ends its games; None: its own.
        """
        config = self.config.copy(copy_frozen=False)
        config.num_envs_per_env_runner = self.runner.num_envs
        config.env_config = dict(config.env_config) | rules
        runner = type(self.runner)(config=config, module=self.spread_learner.net)
        if limit:
            runner.games._env.max_episode_steps = limit
        step, transitions = runner.games.step, []
        runner.games.step = lambda actions: (transitions.append(step(actions)), transitions[-1])[1]
        first, steps = runner.sample(), len(transitions)
        second = runner.sample()
        runner.stop()
        return Acted(first, second, transitions[:steps])

    @cached_property
    def random_play(self) -> RandomPlay:
        """Random play in RANDOM_ENVS envs, until each has ended a game, at most RANDOM_STEPS steps each."""
        games, rng = self.open_games(RANDOM_ENVS), np.random.default_rng(1)
        games.reset(1)
        space = games.action_space
        space.seed(1)
        play, ended, last = RandomPlay([], [], [], []), np.zeros(RANDOM_ENVS, bool), False
        while not last and len(play.actions) < RANDOM_STEPS:
            last = bool(ended.all())  # one step more, in the new games
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
    def first_update(self) -> Update:
        """The first update from the Rollout, by a learner with the present weights."""
        return self.record_update(self.copy_learner(), self.rollout)

    def require_choice(self) -> None:
        """Raise Untested where the environment has one action."""
        if self.discrete and self.count_actions() == 1:
            raise Untested("the environment has one action, so there is nothing to choose")

    def count_actions(self) -> int:
        """Return the number of discrete actions."""
        return int(self.net.action_space.n)

    def make_rollout(self, seed: int, steps: int = 24) -> Rollout:
        """Return a Rollout of random numbers for the learner, with what a game rarely has: rewards beyond 1, both
        terminations and truncations, rows that ignore their action. For PG each env's last row ends an episode.

        Args:
            seed: of the numbers.
            steps: T, agent steps per env.
        """
        rng, spaces = np.random.default_rng(seed), self.net.action_space
        spaces.seed(seed)
        arrays = self.runner._make_arrays(steps)
        shape = arrays["rewards"].shape
        for name, array in arrays.items():
            if array.dtype == np.uint8:
                array[:] = rng.integers(0, 256, array.shape)
            elif name != "actions":
                array[:] = rng.normal(size=array.shape)
        arrays["actions"][:] = np.reshape(
            [spaces.sample() for _ in range(shape[0] * shape[1])], arrays["actions"].shape
        )
        arrays["rewards"] *= 2
        ends = rng.random((2, *shape)) < 0.1
        arrays["terminated"][:], arrays["truncated"][:] = ends[0], ends[1] & ~ends[0]
        arrays["game_reset"][:] = ends.any(0)
        arrays["valid"][:] = (rng.random(shape) >= 0.1) | (self.algo_name == "pg")
        arrays["valid"][0, 0] = True
        arrays["terminated"][-1] |= (self.algo_name == "pg") & ~arrays["truncated"][-1]
        return Rollout(arrays, [], [], 0)

    def read_columns(self, rollout: Rollout, **changes: Any) -> dict[str, np.ndarray]:
        """Return what a live learner makes of a Rollout for its loss, float64 [T, N] by name; NaN where the loss does
        not read it.

        Args:
            rollout: what it is given.
            changes: settings of the algorithm that take the place of the experiment's.
        """
        learner = self.copy_learner()
        whole = {"num_epochs": 1, "minibatch_size": rollout["valid"].size, "microbatch_size": None} | changes
        known = {name: value for name, value in whole.items() if hasattr(learner.algo, name)}
        learner.algo = dataclasses.replace(learner.algo, **known)
        (minibatch,) = self.record_update(learner, rollout, reads_only=True).minibatches
        if ROW not in minibatch:
            raise Untested(UNKNOWN_ROWS)
        rows, found = minibatch[ROW].flatten(), {}
        for name, column in minibatch.items():
            if column.shape == minibatch[ROW].shape:
                numbers = torch.full((rollout["valid"].size,), torch.nan, dtype=torch.float64)
                numbers[rows] = column.flatten().double()
                found[name] = np.where(rollout["valid"], numbers.view(rollout["valid"].shape).numpy(), np.nan)
        return found

    def record_update(
        self, learner: Any, rollout: Rollout, progress: float = 0.0, num_steps: int = 0, reads_only: bool = False
    ) -> Update:
        """Let a learner of `copy_learner` update itself from a Rollout, and return what it did.

        Args:
            learner: the learner, whose methods are watched.
            rollout: what it learns from.
            progress: share of the run that is done, 0 to 1.
            num_steps: ends the update before this step moves the weights; 0: the whole update.
            reads_only: ends the update when it has a minibatch.
        """
        minibatches, steps, sizes, raw, unstepped = [], [], [], [], []
        forward, select_rows, clip_gradient = learner.forward, learner.select_rows, learner.clip_gradient
        move_weights, named = learner.move_weights, list(learner.net.named_parameters())
        before = [p.detach().clone() for _, p in named]

        def number_rows(batch: dict[str, torch.Tensor], columns: Any) -> Any:
            numbers = torch.arange(batch["valid"].numel()).view_as(batch["valid"])
            return select_rows(batch | {ROW: numbers}, (*columns, ROW))

        def run_network(minibatch: dict[str, torch.Tensor]) -> Any:
            minibatches.append({name: column.clone() for name, column in minibatch.items()})
            rows = minibatch.get(ROW, torch.tensor([-1]))
            unstepped.append(rows[minibatch["valid"]] if "valid" in minibatch else rows)
            if reads_only:
                raise RowsRead
            return forward(minibatch)

        def read_gradient() -> torch.Tensor:
            return flatten([torch.zeros_like(p) if p.grad is None else p.grad for p in learner.parameters])

        def clip() -> torch.Tensor:
            raw.append(read_gradient())
            return clip_gradient()

        def move() -> None:
            applied = read_gradient()
            sizes.append(float(applied.square().mean().sqrt()))
            steps[1:] = [step._replace(weights=None, gradient=None, applied=None) for step in steps[1:]]
            gradient = raw[-1] if raw else applied
            steps.append(Step(torch.cat(unstepped), flatten(learner.parameters), gradient, applied))
            raw.clear()
            unstepped.clear()
            if len(steps) == num_steps:
                raise RowsRead
            move_weights()

        learner.select_rows, learner.forward, learner.clip_gradient = number_rows, run_network, clip
        learner.move_weights = move
        try:
            if self.algo_name == "a3c":  # as a worker and the learner do it in turn
                learner.apply_gradient(learner.compute_gradient(rollout, progress), progress)
            else:
                learner.update(training_data=RolloutData([rollout]), timesteps={"progress": progress})
        except RowsRead:
            pass
        still = [name for (name, p), old in zip(named, before, strict=True) if torch.equal(p, old)]
        return Update(minibatches, sizes, len(before), still, steps)

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
