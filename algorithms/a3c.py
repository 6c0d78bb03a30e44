"""A3C: asynchronous advantage actor-critic.

Paper: Mnih et al. 2016, Algorithm S3 (https://arxiv.org/abs/1602.01783). Each worker has its own envs. The learner
applies a gradient as soon as it arrives, so no worker waits for a slower one.

    weights --> worker: envs --Rollout--> loss --gradient, one flat vector--> learner: RMSProp --> weights --> worker

With `ship=experience`, the lecture's variant, a worker sends its Rollout instead, and the learner computes the gradient
of one Rollout at a time with the weights it has by then. The staleness of a gradient is the number of other gradients
that were applied since its worker got the weights. Advantages, loss and clipping are A2C's (algorithms/a2c.py).

Departures from the paper: workers are processes, not threads, so each request carries the weights and an update is
never half written; the loss is a mean; a worker may play several envs at once, and a group of workers plays side by
side with the same weights. docs/algorithms/a3c.md has the list.
"""

import functools
import time
from collections import Counter, defaultdict
from typing import Any, NamedTuple, cast

import numpy as np
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from algorithms.a2c import A2C, A2CConfig, A2CLearner
from algorithms.nonfinite import NonFiniteLoss, save_evidence
from rollouts.requests import Requests
from rollouts.rollout import Rollout, summarize
from rollouts.runner import VectorEnvRunner
from rollouts.shared_memory import Place, SharedVectors, open_vectors

MAX_UNDER_WAY = 2  # requests to one process: while it plays one the next waits there, so that it is never idle
MAX_DROPPED = 3  # gradients in a row of one worker that are not finite, at which the run ends


class A3CConfig(A2CConfig):
    """RLlib's config with A3C's env runner and learner."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or A3C)
        self.env_runners(env_runner_cls=A3CRunner)

    def get_default_learner_class(self) -> type["A3CLearner"]:
        return A3CLearner


class Gradient(NamedTuple):
    """The gradient of the loss on one fragment."""

    vector: np.ndarray | None  # float32 [P], clipped, all parameters in their order; None: it is in shared memory
    terms: dict[str, float]  # of the loss, for the report
    nonfinite: dict[str, Any] | None  # `collect_evidence` of a gradient that is NaN or infinite


class A3CLearner(A2CLearner):
    """A2C's learner, whose update is split in two: the gradient and the step, which may run in two processes."""

    def flatten_weights(self) -> np.ndarray:
        """Return all parameters: float32 [P]."""
        with torch.no_grad():
            return parameters_to_vector(self.parameters).cpu().numpy()

    def set_flat_weights(self, weights: np.ndarray) -> None:
        """Set all parameters from what `flatten_weights` returned."""
        with torch.no_grad():
            vector_to_parameters(torch.tensor(weights).to(self._device), self.parameters)

    def compute_gradient(self, rollout: Rollout, progress: float) -> Gradient:
        """Return the clipped gradient of A2C's loss on one Rollout, at the present weights."""
        self.begin_update(progress)
        self.add_gradient_of_rollouts([rollout])
        finite = bool(torch.isfinite(self.clip_gradient()))
        vector = torch.cat([p.grad.flatten() for p in self.parameters]).cpu().numpy()
        self.get_optimizer(DEFAULT_MODULE_ID).zero_grad()
        return Gradient(vector, self.average_terms(), None if finite else self.collect_evidence())

    def apply_gradient(self, gradient: Gradient, progress: float) -> dict[str, float]:
        """Take one step of the optimizer, whose statistics all workers share; returns the report of the update."""
        self.begin_update(progress)
        pieces = torch.tensor(gradient.vector).to(self._device).split([p.numel() for p in self.parameters])
        for p, piece in zip(self.parameters, pieces, strict=True):
            p.grad = piece.view_as(p)
        self.move_weights()
        self._weights_seq_no += 1
        return gradient.terms | {"lr": self.lr}


def list_workers(process: int, config: Any) -> range:
    """Return the workers of a process: process p of P, from 1 on, has the workers
    p - 1, p - 1 + P, p - 1 + 2 P, ...; if there are no others, the training process, 0, has all of them.
    """
    return range(max(0, process - 1), max(1, config.algo.num_workers), max(1, config.num_env_runners))


def list_groups(process: int, config: Any) -> list[range]:
    """Return the groups of `workers_together` workers of a process, the last may have fewer; in the training process
    each worker plays by itself."""
    workers, size = list_workers(process, config), config.algo.workers_together if config.num_env_runners else 1
    return [workers[first : first + size] for first in range(0, len(workers), size)]


def split_envs(rollout: Rollout, parts: int) -> list[Rollout]:
    """Return equal shares of the envs of a Rollout, in order; the first has the scores of all."""
    columns = {name: np.split(array, parts, axis=1) for name, array in rollout.arrays.items()}
    games = [(rollout.scores, rollout.lengths), *[((), ())] * (parts - 1)]
    return [
        Rollout({name: column[i] for name, column in columns.items()}, scores, lengths, rollout.weights_seq_no)
        for i, (scores, lengths) in enumerate(games)
    ]


class A3CRunner(EnvRunner, Checkpointable):
    """One process of A3C: a network, and the groups of workers that use it in turn."""

    config: Any  # RLlib's class declares few of its attributes

    def __init__(self, *, config: Any, **kwargs):
        super().__init__(config=config, **kwargs)
        self.groups = {group[0]: group for group in list_groups(self.worker_index or 0, config)}
        config, num_envs = config.copy(copy_frozen=False), config.num_envs_per_env_runner
        config.num_learners = config.num_gpus_per_learner = 0  # a worker learns in its own process
        config.num_env_runners = 0  # and its envs are no share of other env runners' envs
        self.workers: dict[int, VectorEnvRunner] = {}  # first worker of a group -> the envs of all of its workers
        module: Any = None
        for first, group in self.groups.items():
            config.num_envs_per_env_runner = num_envs * len(group)
            self.workers[first] = VectorEnvRunner(config=config, worker_index=first, module=module)
            if module is None:
                self.learner: A3CLearner = config.build_learner(spaces=self.workers[first].get_spaces())
                self.workers[first].use_module(module := self.learner.net)
        self.vectors: np.ndarray | None = None  # of the training process, where it is on the same machine

    def play_fragments(
        self, first: int, weights: np.ndarray | None, version: int, progress: float, place: Place | None = None
    ) -> list[tuple[Any, dict[str, Any]]]:
        """Play one fragment of each worker of a group with `weights`.

        Args:
            first: number of the first worker of the group.
            weights: float32 [P]; None: they are in row `first` of the shared vectors, and each worker writes its
                gradient into its own row.
            version: number of gradients that these weights have seen.
            progress: share of the run that is done, 0 to 1.
            place: where the shared vectors are; this process opens them, if it can, for later requests.

        Returns:
            Of each worker the Gradient or, with `ship=experience`, the Rollout; and a summary of it.
        """
        if place is not None:
            self.vectors = open_vectors(place)
        shared: Any = self.vectors if weights is None else None
        self.learner.set_flat_weights(shared[first] if weights is None else weights)
        group, answers, size = self.groups[first], [], 4 * sum(p.numel() for p in self.learner.parameters)
        rollouts = split_envs(self.workers[first].sample(), len(group))
        for worker, rollout in zip(group, rollouts, strict=True):
            content, about = cast(Any, rollout), summarize(rollout) | {"worker": worker, "version": version}
            if self.config.algo.ship == "gradients":
                content, about["num_bytes"] = self.learner.compute_gradient(rollout, progress), size
                if weights is None:
                    shared[worker] = content.vector
                    content = content._replace(vector=None)
            about["num_bytes"] += size // len(group)  # its share of the weights
            answers.append((content, about | {"shares_memory": self.vectors is not None}))
        return answers

    def start_games(self, agent_steps: int) -> None:
        """Start new games; see VectorEnvRunner.start_games."""
        for worker in self.workers.values():
            worker.start_games(agent_steps)

    def sample(self, **kwargs) -> Rollout:
        """Return a Rollout of the first worker, played with the present weights."""
        return next(iter(self.workers.values())).sample()

    def get_spaces(self) -> dict[str, Any]:
        return next(iter(self.workers.values())).get_spaces()

    def assert_healthy(self) -> None:
        assert self.workers

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        return {}  # every request carries the weights

    def set_state(self, state: dict[str, Any]) -> None:
        """Do nothing: every request carries the weights."""

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        return (), {"config": self.config}


class A3C(A2C):
    """The Algorithm: `training_step` applies the fragments that have arrived, and asks their processes for the next."""

    @classmethod
    def get_default_config(cls) -> A3CConfig:
        return A3CConfig()

    def setup(self, config: Any) -> None:
        self.version = 0  # gradients applied since the start
        self.requests = Requests(lambda: self.get_actors(), self.config.algo.worker_timeout_s)
        self.sharing: set[int] = set()  # processes that share memory with this one
        self.turns: Counter[int] = Counter()  # process -> groups that were asked to play
        self.num_dropped = 0
        self.dropped_in_a_row: Counter[int] = Counter()  # worker -> gradients
        self.staleness: dict[int, Counter[int]] = defaultdict(Counter)  # worker -> staleness -> gradients of this row
        self.steps_of: Counter[int] = Counter()  # worker -> agent steps since the last row
        super().setup(config)

    @functools.cached_property
    def shared(self) -> SharedVectors:
        """Return a row for each worker, shared with the processes of this machine: a request brings weights in the row
        of its group's first worker, and each worker writes its gradient into its row."""
        return SharedVectors(max(1, self.config.algo.num_workers), len(self.call_learner(A3CLearner.flatten_weights)))

    def step(self) -> dict[str, Any]:
        result = super().step()
        speed = result["row"]["agent_steps_per_s"] / max(1, self.steps_of.total())
        every = sum(self.staleness.values(), Counter())
        if every:
            result["row"] |= {"staleness": sum(every.elements()) / every.total(), "staleness_max": max(every)}
        result["row"] |= {"dropped_gradients": self.num_dropped, "replaced_workers": self.requests.num_replaced}
        result["workers"] = [
            {"worker": w, "agent_steps_per_s": round(self.steps_of[w] * speed, 1)}
            | {"gradients": counts.total(), "staleness": " ".join(f"{s}:{counts[s]}" for s in sorted(counts))}
            for w, counts in sorted(self.staleness.items())
        ]
        result["notices"] = result.get("notices", []) + self.requests.notices
        self.staleness.clear()
        self.steps_of.clear()
        return result

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.requests.under_way.clear()  # their gradients are of other weights and other games
        super().load_checkpoint(checkpoint_dir)

    def training_step(self) -> None:
        if self.config.num_env_runners == 0:
            runner, weights = cast(A3CRunner, self.env_runner), self.call_learner(A3CLearner.flatten_weights)
            given = self.choose_next_group(0), weights, self.version, self.compute_share_done()
            for answer in runner.play_fragments(*given):
                self.apply_fragment(*answer)
            return
        self.request_fragments()
        for answers, process in self.requests.take_answers():
            for content, about in answers:
                if about["shares_memory"]:
                    self.sharing.add(process)
                if isinstance(content, Gradient) and content.vector is None:
                    content = content._replace(vector=self.shared.rows[about["worker"]])
                self.apply_fragment(content, about)
        self.request_fragments()

    def request_fragments(self) -> None:
        """Ask each process to play the groups that are missing under way there, and send it the newest weights."""
        missing = self.requests.list_missing(lambda p: min(MAX_UNDER_WAY, len(list_groups(p, self.config))))
        if not missing:
            return
        actors, weights, sent = self.get_actors(), self.call_learner(A3CLearner.flatten_weights), None
        for process in missing:
            first, about = self.choose_next_group(process), (self.version, self.compute_share_done())
            if process in self.requests.lost:  # it starts again
                self.sharing.discard(process)  # the old process may still write there
                actors[process].start_games.remote(self.progress.agent_steps)  # or it would play its first games again
            if process in self.sharing:
                self.shared.rows[first] = weights
                request = actors[process].play_fragments.remote(first, None, *about)
            else:
                sent = ray.put(weights) if sent is None else sent
                request = actors[process].play_fragments.remote(first, sent, *about, self.shared.place)
            self.requests.add(request, process)

    def choose_next_group(self, process: int) -> int:
        """Return the first worker of the group of a process that plays next; the groups play in turn."""
        groups = list_groups(process, self.config)
        self.turns[process] += 1
        return groups[(self.turns[process] - 1) % len(groups)][0]

    def apply_fragment(self, content: Any, about: dict[str, Any]) -> None:
        """Take a step with the Gradient, or the Rollout, that a worker has sent; a gradient of NaN is left out."""
        worker, progress = about["worker"], self.compute_share_done()
        if self.config.algo.ship == "experience":
            content = self.call_learner(lambda learner, rollout=content: learner.compute_gradient(rollout, progress))
        self.steps_of[worker] += about["agent_steps"]
        if content.nonfinite is not None:
            self.log_update([about], [])
            return self.drop_gradient(worker, content)
        self.dropped_in_a_row[worker] = 0
        self.staleness[worker][self.version - about["version"]] += 1
        self.log_update([about], [self.call_learner(lambda learner: learner.apply_gradient(content, progress))])
        self.version += 1

    def drop_gradient(self, worker: int, gradient: Gradient) -> None:
        """Leave out a gradient that is NaN or infinite.

        Raises:
            NonFiniteLoss: the last gradients of this worker were all NaN or infinite.
        """
        self.num_dropped += 1
        self.dropped_in_a_row[worker] += 1
        if self.dropped_in_a_row[worker] >= MAX_DROPPED:
            path = self.call_learner(lambda learner: save_evidence(learner.config, cast(dict, gradient.nonfinite)))
            raise NonFiniteLoss(
                f"{MAX_DROPPED} gradients of worker {worker} in a row were NaN or infinite: training stopped; "
                f"the batch of the last and the weights are in {path}; a smaller algo.lr may help"
            )

    def call_learner(self, function: Any) -> Any:
        """Call a function with the learner, in the learner's process; returns its result."""
        began = time.perf_counter()
        (result,) = self.learner_group.foreach_learner(function)
        self.progress.learning_s += time.perf_counter() - began
        if not result.ok:
            raise result.get()
        return result.get()
