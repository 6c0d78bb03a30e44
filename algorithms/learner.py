"""The learner that takes Rollouts.

    Rollouts -> device, once -> prepare: advantages, targets, once -> pieces -> loss -> gradient -> optimizer

It stands where RLlib's Learner turns episodes into batches; RLlib's LearnerGroup drives it, saves it and restores it.
An algorithm subclasses it and writes `prepare`, `learn` and `compute_loss_for_module`.

A batch is a table of columns by name. A model without memory learns from valid rows in any order, [B, ...]; one with
an LSTM from whole sequences, [T, N, ...], and `memory` [2, N, H], its state before the first step.
"""

import os
from collections.abc import Iterator
from typing import Any, cast

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import nn

from algorithms.optimizers import make_optimizer
from algorithms.several import Rows, everyones, mean_of_parts, moments, sum_gradients  # noqa: F401 - not all for this file
from custom_models.actor_critic import ActorCritic
from environments.threads import take_threads
from rollouts.device import on_device
from rollouts.rollout import Rollout, RolloutData, side_by_side, stack_frames

PROGRESS = "progress"  # the key in `timesteps` for the share of the run that is done, 0 to 1
Batch = dict[str, torch.Tensor]


class NonFiniteLoss(RuntimeError):
    """A loss or gradient was NaN or infinite; the message names the file that holds its minibatch."""


def num_rows(batch: Batch) -> int:
    """Agent steps that count in a batch: all rows [B], or the valid ones of sequences [T, N]."""
    return int(batch["valid"].sum()) if "valid" in batch else len(batch["actions"])


class RolloutLearner(TorchLearner):
    """Reads from the config: `grad_clip`, `optimizer_name`, `optimizer_eps`, `lr`, `anneal_lr`, `frame_stack`."""

    config: Any  # RLlib's class declares few of its attributes
    net: ActorCritic

    def build(self) -> None:
        take_threads()
        super().build()
        self.net = cast(ActorCritic, self.module[DEFAULT_MODULE_ID].unwrapped())
        self.progress = 0.0  # of the run, as far as the last update knew
        self._generator = torch.Generator().manual_seed(self.config.seed)
        self.parameters = [p for p in self.net.parameters() if p.requires_grad]

    def __repr__(self) -> str:
        return self.config.learner_class.__name__  # Ray's dashboard would call it _WrappedExecutable

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = list(cast(nn.Module, self.module[module_id]).parameters())
        optimizer = make_optimizer(config.optimizer_name, parameters, config.lr, config.optimizer_eps)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=parameters)

    def prepare(self, batch: Batch) -> Batch:
        """From a Rollout on the device [T, N, ...] to the columns of the loss [T, N, ...]. No gradients here."""
        raise NotImplementedError

    def learn(self, batch: Batch) -> None:
        """One update of the weights, or several."""
        raise NotImplementedError

    def update(self, *, training_data: RolloutData, timesteps: dict[str, Any], **kwargs) -> dict[str, float]:
        """Learn once from some Rollouts.

        Args:
            training_data: Rollouts of equal horizon.
            timesteps: `progress`, the share of the run that is done, for the schedules.

        Returns:
            What `report` does; RLlib's own metrics take about a millisecond per update.

        Raises:
            NonFiniteLoss: the step is not taken, and the minibatch is on disk.
        """
        training_data.validate()
        training_data.solve_refs()
        self.begin(timesteps[PROGRESS])
        self.learn(self.load([cast(Rollout, rollout) for rollout in training_data.rollouts]))
        self._weights_seq_no += 1
        return self.report()

    def begin(self, progress: float) -> None:
        """Set what depends on the share of the run that is done, and empty the log."""
        self.progress = progress
        self.lr = self.annealed(self.config.lr, self.config.anneal_lr)
        self._log: list[dict[str, torch.Tensor]] = []
        self._shares: list[float] = []
        self._norms: list[torch.Tensor] = []

    def annealed(self, start: float, linear: bool) -> float:
        """`start`, or falling linearly from it to 0 over the run."""
        return start * (1 - self.progress) if linear else start

    # Rollouts to batches ----------------------------------------------------------------------------------------------
    def load(self, rollouts: list[Rollout]) -> Batch:
        """One batch of all Rollouts, on the device, with the columns that the loss reads."""
        batch = side_by_side([self._load(rollout) for rollout in rollouts])
        if self.net.recurrent:
            return batch
        batch = {name: column.flatten(0, 1) for name, column in batch.items()}
        valid = batch.pop("valid")
        return batch if valid.all() else {name: column[valid] for name, column in batch.items()}

    @torch.no_grad()
    def _load(self, rollout: Rollout) -> Batch:
        batch = on_device(rollout.arrays, self._device)
        if "frames" in batch:
            batch["obs"] = stack_frames(batch.pop("frames"), batch["game_reset"], self.config.frame_stack)
        else:
            batch["obs"] = batch["obs"][:-1]
        memory = {}
        if self.net.recurrent:
            starts = torch.zeros_like(batch["game_reset"])
            starts[1:] = batch["game_reset"][:-1]  # the runner has emptied the memory before the first
            memory = {"memory": batch["memory"], "starts": starts}
        return {"obs": batch["obs"], "valid": batch["valid"], **memory, **self.prepare(batch)}

    def pieces(self, batch: Batch, number: int, rows: Rows | None = None) -> Iterator[Batch]:
        """Minibatches: this learner's [B / number, ...] in order, or what is drawn of `rows`; sequences [T, B, ...]."""
        if number == 1 and rows is None:
            yield batch
            return
        axis = 1 if self.net.recurrent else 0
        in_order = torch.arange(count := batch["actions"].shape[axis], device=self._device)
        for chosen in rows.drawn(number, self._generator) if rows else in_order.tensor_split(min(number, count)):
            yield {name: column.index_select(axis, chosen) for name, column in batch.items()}

    def standardized(self, batch: Batch) -> Batch:
        """Its advantages less everyone's mean, over their standard deviation, where `normalize_advantages` says so."""
        if not self.config.normalize_advantages:
            return batch
        advantages = batch["advantages"]
        mean, std = moments(advantages[batch["valid"]] if "valid" in batch else advantages)
        return batch | {"advantages": (advantages - mean) / (std + 1e-8)}

    # Batches to steps -------------------------------------------------------------------------------------------------
    def add_gradient(self, minibatch: Batch, share: float = 1.0) -> None:
        """Add the gradient of the loss on a minibatch, times `share`, to what the parameters hold."""
        policy, values, minibatch = self.forward(minibatch)
        found = {"policy": self.net.Policy(policy), "values": values}
        loss: Any = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=minibatch, fwd_out=found
        )
        self._shares.append(share)
        (loss * share if share != 1.0 else loss).backward()

    def forward(self, minibatch: Batch) -> tuple[torch.Tensor, torch.Tensor, Batch]:
        """Policy [B, P] and values [B] of the valid rows of a minibatch, and its other columns [B, ...]."""
        packed = self.net.pack()
        if not self.net.recurrent:
            return *self.net.policy_and_value(minibatch["obs"], packed), minibatch
        rest = dict(minibatch)
        obs, memory, starts, valid = (rest.pop(name) for name in ("obs", "memory", "starts", "valid"))
        policy, values = self.net.over_time(obs, packed, tuple(memory), starts)
        rows = valid.nonzero(as_tuple=True)  # once: a GPU is waited for to know how many
        return policy[rows], values[rows], {name: column[rows] for name, column in rest.items()}

    def clip_gradient(self) -> torch.Tensor:
        """Scale the gradient down to `grad_clip`; returns its norm before, NaN or infinite if a part of it is."""
        sum_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.grad_clip or float("inf"), foreach=True)
        self._norms.append(norm)
        return norm

    def descend(self, minibatch: Batch) -> None:
        """One step of the optimizer with the gradient that `minibatch` led to.

        Raises:
            NonFiniteLoss: the step is not taken.
        """
        norm = self.clip_gradient()
        if not torch.isfinite(norm):
            raise NonFiniteLoss(
                f"gradient norm {norm.item()}: training stopped before this step; its minibatch and the weights are in "
                f"{self.save_nonfinite(self.evidence(minibatch))}; a smaller algo.lr may help"
            )
        self.take_step()

    def take_step(self) -> None:
        """One step of the optimizer with the gradient that the parameters hold."""
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID)
        for group in optimizer.param_groups:
            group["lr"], group["eps"] = self.lr, self.config.optimizer_eps  # not the checkpoint's
        optimizer.step()
        optimizer.zero_grad()

    def evidence(self, minibatch: Batch) -> dict[str, Any]:
        """A minibatch that led to NaN or infinity, with the weights it did so at."""
        return {"minibatch": minibatch, "module": self.net.state_dict(), "progress": self.progress}

    def save_nonfinite(self, evidence: dict[str, Any]) -> str:
        """Keep it; returns the file."""
        path = f"{self.config.run_dirs.get(self.config.seed, os.getcwd())}/nonfinite_minibatch_{os.getpid()}.pt"
        torch.save(evidence, path)
        return path

    # What is reported and saved ---------------------------------------------------------------------------------------
    def log(self, **terms: torch.Tensor) -> None:
        """Loss terms of one minibatch; the report shows their mean."""
        self._log.append({name: term.detach() for name, term in terms.items()})

    def report(self) -> dict[str, float]:
        """Means over all minibatches since `begin`, each by its share."""
        rows = [
            torch.stack([torch.as_tensor(v, dtype=torch.float32, device=self._device) for v in terms.values()])
            for terms in self._log
        ]
        shares = torch.tensor(self._shares, device=self._device)
        means = dict(zip(self._log[0], (shares @ torch.stack(rows) / shares.sum()).tolist(), strict=True))
        return means | {"grad_norm": torch.stack(self._norms).mean().item(), "lr": self.lr}

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
