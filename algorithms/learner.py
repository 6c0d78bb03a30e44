"""The learner's base class: the steps from Rollouts to new weights, which an algorithm's `update` calls.

    load: Rollouts -> batch [T, N, ...] -> minibatches [B, ...] -> forward -> (loss) -> add_gradient -> step -> report

The algorithm's own file has `update` and the loss; nothing here calls them. A model without memory learns from valid
rows in any order, [B, ...]. A model with an LSTM learns from whole sequences, [T, B, ...], and the state before them,
`memory` [2, B, H]. How several learners share the rollouts is known here only, see algorithms/data_parallel.py.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import nn

from algorithms import data_parallel
from algorithms.nonfinite import NonFiniteLoss, save_evidence
from custom_models.actor_critic import ActorCritic
from custom_models.cuda_graphs import COMPLAINTS, GraphedFunction, differentiate
from custom_models.optimizers import make_optimizer
from custom_models.shards import make_shards
from environments.threads import configure_threads
from rollouts.device import copy_to_device
from rollouts.rollout import Rollout, join_envs, stack_frames

PROGRESS = "progress"  # the key in `timesteps` for the share of the run that is done, 0 to 1
Batch = dict[str, torch.Tensor]  # columns by name


def count_rows(rows: Batch) -> int:
    """Return the agent steps that count: all rows [B], or the valid ones of sequences [T, B]."""
    return int(rows["valid"].sum()) if "valid" in rows else len(rows["actions"])


class RolloutLearner(TorchLearner):
    """A learner under RLlib's LearnerGroup, which calls `update`, saves the learner and restores it.

    A subclass writes `update(training_data, timesteps)`: it learns once from the Rollouts in `training_data`, at the
    share `timesteps[PROGRESS]` of the run, and returns the `report`. It raises NonFiniteLoss instead of a step that is
    NaN or infinite.
    """

    config: Any  # RLlib's class declares few of its attributes
    algo: Any  # settings of the algorithm, such as a PPOSettings
    net: ActorCritic

    def build(self) -> None:
        configure_threads()
        self.algo = self.config.algo
        super().build()
        self.net = cast(ActorCritic, self.module[DEFAULT_MODULE_ID].unwrapped())
        self.shards = make_shards(self.config.threads, torch.get_num_threads(), self.net.torso, self._device)
        self.is_data_parallel = data_parallel.is_data_parallel()
        self.progress = 0.0  # share of the run that was done at the last update
        self._generator = torch.Generator().manual_seed(self.config.seed)
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]
        self._graphed = GraphedFunction(partial(differentiate, self.forward, self.parameters), self._device, "learning")
        self._is_graphed = self._device.type == "cuda" and not self.net.recurrent  # an LSTM's kernels differ each time

    def __repr__(self) -> str:
        return self.config.learner_class.__name__  # Ray's dashboard would call it _WrappedExecutable

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = list(cast(nn.Module, self.module[module_id]).parameters())
        algo = self.algo
        optimizer = make_optimizer(algo.optimizer, parameters, algo.lr, algo.optimizer_eps, algo.rmsprop_start)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=parameters)

    def compute_loss_for_module(self, **kwargs) -> Any:
        """Raise an error: only RLlib's own `update` calls this; the algorithms here call their loss functions."""
        raise NotImplementedError

    def begin_update(self, progress: float) -> None:
        """Begin an update at this share of the run, 0 to 1: set the step size and empty the log."""
        self.progress = progress
        self.lr = self.anneal(self.algo.lr, self.algo.lr_schedule)
        self._log: list[dict[str, torch.Tensor]] = []
        self._shares: list[float] = []
        self._norms: list[torch.Tensor] = []

    def anneal(self, start: float, schedule: str) -> float:
        """Return the present value of a setting that begins with `start`: `linear` falls to 0 at the end of the run,
        `constant` stays."""
        return start * (1 - self.progress) if schedule == "linear" else start

    # Rollouts to minibatches ------------------------------------------------------------------------------------------
    def load(self, rollouts: Sequence[Rollout]) -> Batch:
        """Return one batch of all Rollouts, on the device; they have an equal horizon, or hold complete episodes.

        Returns:
            The columns of a Rollout side by side [T, N, ...], with stacks of frames as `obs`; for a model with memory
            also `starts` [T, N], whether the observation is the first of a new game.
        """
        self._num_rollouts = len(rollouts)
        return join_envs([self._load_rollout(rollout) for rollout in rollouts])

    @torch.no_grad()
    def _load_rollout(self, rollout: Rollout) -> Batch:
        """Return the columns of one Rollout on the device, with `obs`, and `starts` for a model with memory."""
        columns = copy_to_device(rollout.arrays, self._device)
        if "frames" in columns:
            frames = columns.pop("frames")
            columns["obs"] = stack_frames(frames, columns["game_reset"], self.config.env_settings.frame_stack)
        else:
            columns["obs"] = columns["obs"][:-1]
        if self.net.recurrent:
            columns["starts"] = torch.zeros_like(columns["game_reset"])
            columns["starts"][1:] = columns["game_reset"][:-1]  # the runner has emptied the memory before the first
        return columns

    def select_rows(self, batch: Batch, columns: Sequence[str]) -> Batch:
        """Return `obs` and these columns of the valid rows [B, ...]; for a model with memory of all rows [T, N, ...],
        with `valid`, `starts` and `memory`."""
        if self.net.recurrent:
            return {name: batch[name] for name in ("obs", "valid", "starts", "memory", *columns) if name in batch}
        rows = {name: batch[name].flatten(0, 1) for name in ("obs", *columns) if name in batch}
        valid = batch["valid"].flatten()
        return rows if valid.all() else {name: column[valid] for name, column in rows.items()}

    def iterate_minibatches(
        self, batch: Batch, columns: Sequence[str], size: int, num_epochs: int, standardize: str | None = None
    ) -> Iterator[Batch]:
        """Iterate over shuffled minibatches; the caller takes one step on each.

        Every epoch has each row once, in a new order. With several learners, a minibatch is drawn from the rows of all
        of them. Each learner gets the rows that it has; a learner without a row takes the step without a loss.

        Args:
            batch: columns [T, N, ...].
            columns: names of the columns that the loss reads.
            size: agent steps per minibatch, of all learners together; minibatches differ by one row at most.
            num_epochs: passes over the batch.
            standardize: the column that gets mean 0 and standard deviation 1 in every minibatch.
        """
        rows, axis = self.select_rows(batch, columns), 1 if self.net.recurrent else 0
        shared, total, agent_steps = None, rows["actions"].shape[axis], count_rows(rows)
        if self.is_data_parallel:
            shared = data_parallel.RowsOfAllLearners(batch["valid"], self._num_rollouts, self.net.recurrent)
            total, agent_steps = shared.total, shared.agent_steps
        for _epoch in range(num_epochs):
            order = torch.randperm(total, generator=self._generator).to(self._device)
            for numbers in order.tensor_split(min(math.ceil(agent_steps / size), total)):
                chosen = shared.find_own_rows(numbers) if shared else numbers
                minibatch = {name: column.index_select(axis, chosen) for name, column in rows.items()}
                if standardize:
                    minibatch[standardize] = self.standardize(minibatch[standardize], minibatch.get("valid"))
                own = count_rows(minibatch)
                all_rows = shared.count_agent_steps(numbers) if shared else own
                self._last_minibatch, self._share = minibatch, own / max(1, all_rows)
                if own:
                    yield minibatch
                else:
                    self.step()

    def iterate_microbatches(self, batch: Batch, columns: Sequence[str], size: int | None) -> Iterator[Batch]:
        """Iterate over parts of the batch, in order, whose gradients add up to that of the batch, for one step.

        Args:
            batch: columns [T, N, ...].
            columns: names of the columns that the loss reads.
            size: agent steps whose gradient is computed at once; None: all of them.
        """
        rows, axis = self.select_rows(batch, columns), 1 if self.net.recurrent else 0
        own, self._last_minibatch = count_rows(rows), rows
        all_rows = data_parallel.count_rows_of_all_learners(own, self._device) if self.is_data_parallel else own
        parts, count = math.ceil(own / (size or own)), rows["actions"].shape[axis]
        if parts == 1:
            self._share = own / all_rows
            yield rows
            return
        for chosen in torch.arange(count, device=self._device).tensor_split(min(parts, count)):
            microbatch = {name: column.index_select(axis, chosen) for name, column in rows.items()}
            self._share = count_rows(microbatch) / all_rows
            yield microbatch

    def compute_mean_and_std(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation (of the population) of the numbers of all learners: scalars."""
        return data_parallel.compute_mean_and_std(x) if self.is_data_parallel else (x.mean(), x.std(correction=0))

    def standardize(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """Return x minus the mean of its valid numbers, divided by their standard deviation; None: all are valid."""
        mean, std = self.compute_mean_and_std(x if valid is None else x[valid])
        return (x - mean) / (std + 1e-8)

    # Minibatches to steps ---------------------------------------------------------------------------------------------
    def forward(self, minibatch: Batch) -> tuple[Any, torch.Tensor, Batch]:
        """Run the network on a minibatch.

        Returns:
            The present policy in its valid rows (a distribution over [B]), their values [B], and the minibatch's other
            columns in these rows [B, ...].
        """
        packed = self.net.pack(self.shards)
        if not self.net.recurrent:
            policy, values = self.net.compute_policy_and_value(minibatch["obs"], packed)
            return self.net.Policy(policy), values, minibatch
        rest = dict(minibatch)
        obs, memory, starts, valid = (rest.pop(name) for name in ("obs", "memory", "starts", "valid"))
        policy, values = self.net.unroll(obs, packed, tuple(memory), starts)
        rows = valid.nonzero(as_tuple=True)  # once: a GPU is waited for to know how many
        return self.net.Policy(policy[rows]), values[rows], {name: column[rows] for name, column in rest.items()}

    def add_gradient_of(self, compute_loss: Callable[..., Any], minibatch: Batch, *settings: Any) -> None:
        """Run the network on a minibatch and add the gradient of `compute_loss`, a function from the results of
        `forward` and settings to a loss and its terms, all scalars; on a GPU as a CUDA graph."""
        if not self._is_graphed:
            return self.add_gradient(*compute_loss(*self.forward(minibatch), *settings))
        terms, gradients = self._graphed(None, compute_loss, minibatch, *settings)
        self._log.append({name: term.clone() for name, term in terms.items()})
        self._shares.append(self._share)
        for p, gradient in zip(self.parameters, torch._foreach_mul(gradients, self._share), strict=True):
            p.grad = gradient if p.grad is None else p.grad + gradient

    def add_gradient(self, loss: torch.Tensor, terms: Mapping[str, torch.Tensor | float]) -> None:
        """Add the gradient of the loss on the present minibatch to the parameters' gradients, and log the loss terms.

        The loss is a mean over rows, so it is multiplied by the share of the step's rows that the minibatch has.
        """
        self._log.append({name: torch.as_tensor(term).detach() for name, term in terms.items()})
        self._shares.append(share := self._share)
        (loss * share if share != 1.0 else loss).backward()

    def step(self) -> None:
        """Take one step of the optimizer with the sum of the gradients of all learners.

        Raises:
            NonFiniteLoss: the gradient is NaN or infinite. The step is not taken, and a file keeps the minibatch.
        """
        norm = self.clip_gradient()
        if not torch.isfinite(norm):
            raise NonFiniteLoss(
                f"gradient norm {norm.item()}: training stopped before this step; its minibatch and the weights are in "
                f"{save_evidence(self.config, self.collect_evidence())}; a smaller algo.lr may help"
            )
        self.move_weights()

    def clip_gradient(self) -> torch.Tensor:
        """Scale the gradient of all learners down to `max_grad_norm`; returns the norm it had, which is NaN where a
        part of the gradient is."""
        if self.is_data_parallel:
            data_parallel.sum_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.algo.max_grad_norm or float("inf"), foreach=True)
        self._norms.append(norm)
        return norm

    def move_weights(self) -> None:
        """Let the optimizer change the weights by the parameters' gradients, and set these to zero."""
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID)
        for group in optimizer.param_groups:
            group["lr"], group["eps"] = self.lr, self.algo.optimizer_eps  # not the checkpoint's
        optimizer.step()
        optimizer.zero_grad()

    def collect_evidence(self) -> dict[str, Any]:
        """Return the last minibatch and the weights, for the file that is kept when a NaN stops the run."""
        return {"minibatch": self._last_minibatch, "module": self.net.state_dict(), "progress": self.progress}

    # What is reported and saved ---------------------------------------------------------------------------------------
    def report(self) -> dict[str, Any]:
        """Count the update; return `average_terms`, and `complaints`. RLlib's metrics would take a millisecond."""
        self._weights_seq_no += 1
        return self.average_terms() | ({"complaints": COMPLAINTS} if COMPLAINTS else {})

    def average_terms(self) -> dict[str, float]:
        """Return the means of the loss terms over this update's minibatches, weighted by rows, the norm and the lr."""
        scalar = partial(torch.as_tensor, dtype=torch.float32, device=self._device)
        rows = [torch.stack([*map(scalar, terms.values())]) for terms in self._log]
        shares = torch.tensor(self._shares, device=self._device)
        means = dict(zip(self._log[0], (shares @ torch.stack(rows) / shares.sum()).tolist(), strict=True))
        return means | {"grad_norm": torch.stack(self._norms).mean().item(), "lr": self.lr}

    def take_mean(self, name: str) -> float:
        """Remove a loss term, which must be there, from the log; returns its mean over this update and all learners."""
        if name not in self._log[0]:
            raise ValueError(f"the loss has no term '{name}'; return it among the terms, or set algo.{name}_coeff=0")
        means = torch.stack([terms.pop(name) for terms in self._log])
        weights = means.new_tensor(self._shares)  # of all learners they add up to the number of minibatches
        sums = torch.stack([weights @ means, weights.sum()])
        added, minibatches = data_parallel.sum_over_learners(sums) if self.is_data_parallel else sums
        return (added / minibatches).item()

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component("generator", components, not_components):
            state["generator"] = self._generator.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        self._weights_seq_no = 0  # RLlib keeps the weights it has when those that come are older
        super().set_state(state)
        if "generator" in state:
            self._generator.set_state(torch.as_tensor(state["generator"]))
