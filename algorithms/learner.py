"""The learner that takes Rollouts.

    Rollouts -> device, once -> prepare: advantages, targets, once -> minibatches -> loss -> gradient -> optimizer

It stands where RLlib's Learner turns episodes into batches; RLlib's LearnerGroup drives it, saves it and restores it.
An algorithm subclasses it and writes `prepare` and `compute_loss_for_module`.
"""

import math
import os
import warnings
from typing import Any, cast

import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from torch import nn

from custom_models.actor_critic import ActorCritic
from environments.machine import take_threads
from rollouts.rollout import Rollout, stack_frames

PROGRESS = "progress"  # the key in `timesteps` for the share of the run that is done, 0 to 1


class NonFiniteLoss(RuntimeError):
    """A loss or gradient was NaN or infinite; the message names the file that holds its minibatch."""


class RolloutData(TrainingData):
    """Rollouts, or references to them, on their way to the learner."""

    def __init__(self, rollouts: list[Rollout | ray.ObjectRef]):
        super().__init__()
        self.rollouts = rollouts

    def validate(self) -> None:
        if not self.rollouts:
            raise ValueError("an update needs at least one rollout")

    def shard(self, num_shards: int, len_lookback_buffer: int | None = None, **kwargs):
        return [(RolloutData(self.rollouts[i::num_shards]), {}) for i in range(num_shards)]

    def solve_refs(self) -> None:
        self.rollouts = [ray.get(r) if isinstance(r, ray.ObjectRef) else r for r in self.rollouts]


class RolloutLearner(TorchLearner):
    """Reads from the config: `num_epochs`, `minibatch_size`, `grad_clip`, `optimizer`, `optimizer_eps`, `anneal_lr`."""

    config: Any  # RLlib's class declares few of its attributes
    net: ActorCritic

    def build(self) -> None:
        take_threads()
        super().build()
        self.net = cast(ActorCritic, self.module[DEFAULT_MODULE_ID].unwrapped())
        self._generator = torch.Generator().manual_seed(self.config.seed)
        self._parameters = [p for p in self.net.parameters() if p.requires_grad]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = list(cast(nn.Module, self.module[module_id]).parameters())
        if config.optimizer_name == "adam":
            optimizer = torch.optim.Adam(parameters, config.lr, eps=config.optimizer_eps, fused=True)
        else:
            optimizer = torch.optim.RMSprop(parameters, config.lr, alpha=0.99, eps=config.optimizer_eps)
        self.register_optimizer(module_id=module_id, optimizer=optimizer, params=parameters)

    def prepare(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """From a Rollout on the device [T, N, ...] to the columns of the loss [T, N, ...]. No gradients here."""
        raise NotImplementedError

    def update(self, *, training_data: RolloutData, timesteps: dict[str, Any], **kwargs) -> dict[str, Any]:
        """One update with `num_epochs` passes over the Rollouts.

        Args:
            training_data: Rollouts of equal horizon.
            timesteps: `progress`, the share of the run that is done, for the schedules.

        Returns:
            RLlib's reduced metrics: means over all minibatches.

        Raises:
            NonFiniteLoss: the step is not taken, and the minibatch is on disk.
        """
        training_data.validate()
        training_data.solve_refs()
        self.progress = timesteps[PROGRESS]
        lr = self.annealed(self.config.lr, self.config.anneal_lr)
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID)
        for group in optimizer.param_groups:
            group["lr"] = lr
        batch = self._rows([self._load(cast(Rollout, rollout)) for rollout in training_data.rollouts])

        self._log = []
        config = self.config
        for _epoch in range(config.num_epochs):
            order = torch.randperm(len(batch["actions"]), generator=self._generator).to(self._device)
            # Pieces of equal size: restarts leave any number of rows, and a last piece of one has no variance.
            for rows in order.tensor_split(math.ceil(len(order) / (config.minibatch_size or len(order)))):
                minibatch = {name: column.index_select(0, rows) for name, column in batch.items()}
                self._step(optimizer, minibatch)
        self._weights_seq_no += 1
        return self._report(lr)

    def annealed(self, start: float, linear: bool) -> float:
        """`start`, or falling linearly from it to 0 over the run."""
        return start * (1 - self.progress) if linear else start

    @torch.no_grad()
    def _load(self, rollout: Rollout) -> dict[str, torch.Tensor]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            batch = {name: torch.from_numpy(a).to(self._device) for name, a in rollout.arrays.items()}
        if "frames" in batch:
            batch["obs"] = stack_frames(batch.pop("frames"), batch["game_reset"], self.config.frame_stack)
        else:
            batch["obs"] = batch["obs"][:-1]
        return {"valid": batch["valid"], **self.prepare(batch)}

    @staticmethod
    def _rows(pieces: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Pieces [T, N, ...] -> valid rows [B, ...]."""
        batch = {name: torch.cat([piece[name].flatten(0, 1) for piece in pieces]) for name in pieces[0]}
        valid = batch.pop("valid")
        return batch if valid.all() else {name: column[valid] for name, column in batch.items()}

    def _step(self, optimizer: torch.optim.Optimizer, minibatch: dict[str, torch.Tensor]) -> None:
        policy, values = self.net.policy_and_value(minibatch["obs"], self.net.pack())
        loss: Any = self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID,
            config=self.config,
            batch=minibatch,
            fwd_out={"policy": self.net.Policy(policy), "values": values},
        )
        optimizer.zero_grad()
        loss.backward()
        limit = self.config.grad_clip or float("inf")
        norm = nn.utils.clip_grad_norm_(self._parameters, limit, foreach=True)
        if not torch.isfinite(norm):
            self._stop_on_nonfinite(loss, norm, minibatch)
        optimizer.step()
        self._log[-1]["grad_norm"] = norm

    def _stop_on_nonfinite(self, loss: torch.Tensor, norm: torch.Tensor, minibatch: dict[str, torch.Tensor]) -> None:
        path = os.path.join(
            self.config.run_dirs.get(self.config.seed, os.getcwd()), f"nonfinite_minibatch_{os.getpid()}.pt"
        )
        torch.save({"minibatch": minibatch, "module": self.net.state_dict(), "progress": self.progress}, path)
        raise NonFiniteLoss(
            f"loss {loss.item()}, gradient norm {norm.item()}: training stopped before this step; "
            f"its minibatch and the weights are in {path}"
        )

    def log(self, **terms: torch.Tensor) -> None:
        """Loss terms of one minibatch; the report shows their mean."""
        self._log.append({name: term.detach() for name, term in terms.items()})

    def _report(self, lr: float) -> dict[str, Any]:
        means = torch.stack(
            [
                torch.stack([torch.as_tensor(v, dtype=torch.float32, device=self._device) for v in terms.values()])
                for terms in self._log
            ]
        ).mean(0)
        report = dict(zip(self._log[0], means.tolist(), strict=True)) | {"lr": lr}
        self.metrics.log_dict(report, key=DEFAULT_MODULE_ID, window=1)
        return self.metrics.reduce()

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
