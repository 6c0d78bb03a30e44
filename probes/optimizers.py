"""Probes of the optimizer: its equations, its first steps, the step size over the run, and the gradient's norm."""

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from probes.probe import Finding, judge, probe
from probes.subject import Subject

OPTIMIZERS = "custom_models/optimizers.py"
DECAY, BETA1, BETA2 = 0.99, 0.9, 0.999


def run_optimizer(subject: Subject, gradients: np.ndarray, start: float = 0.0) -> np.ndarray:
    """Return where a parameter of the learner's optimizer stands after each of these gradients: float64 [steps]."""
    learner, parameter = subject.copy_learner(), torch.full((1,), start, dtype=torch.float64)
    learner.begin_update(0.0)
    learner.move_weights()  # sets the step size
    live = learner.get_optimizer(DEFAULT_MODULE_ID)
    settings = {name: live.param_groups[0][name] for name in live.defaults}
    optimizer = type(live)([parameter], **settings)
    places = []
    for gradient in gradients:
        parameter.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        places.append(parameter.item())
    return np.array(places)


def run_equations(subject: Subject, gradients: np.ndarray) -> np.ndarray:
    """Return what `run_optimizer` returns, computed by the papers' equations; RMSProp's mean square begins at
    `algo.rmsprop_start`."""
    algo, place, momentum, places = subject.algo, 0.0, 0.0, []
    square = float(algo.rmsprop_start) if algo.optimizer == "rmsprop" else 0.0
    for step, gradient in enumerate(gradients, 1):
        if algo.optimizer == "rmsprop":
            square = DECAY * square + (1 - DECAY) * gradient**2
            place -= algo.lr * gradient / np.sqrt(square + algo.optimizer_eps)
        else:
            momentum = BETA1 * momentum + (1 - BETA1) * gradient
            square = BETA2 * square + (1 - BETA2) * gradient**2
            mean, root = momentum / (1 - BETA1**step), np.sqrt(square / (1 - BETA2**step))
            place -= algo.lr * mean / (root + algo.optimizer_eps)
        places.append(place)
    return np.array(places)


@probe(
    "optimizer",
    OPTIMIZERS,
    "Adam: Kingma and Ba 2015; RMSProp: Mnih et al. 2016, eqs. 8 and 9, epsilon under the root; SB3 the same in "
    "RMSpropTFLike, torch's own has it outside",
)
def compare_steps(subject: Subject) -> Finding:
    """Steps are those of the paper's equations."""
    gradients = np.random.default_rng(1).normal(size=50)
    worst = float(np.abs(run_optimizer(subject, gradients) - run_equations(subject, gradients)).max())
    found = f"50 steps of {subject.algo.optimizer}: largest difference {worst:.1e}, step size {subject.algo.lr:g}"
    return judge(worst < 1e-9, found)


@probe(
    "optimizer",
    OPTIMIZERS,
    "algo.rmsprop_start: PFRL and torch begin the mean square at 0, so that first steps are largest; TensorFlow, "
    "baselines and SB3's RMSpropTFLike at 1",
    {"optimizer_rmsprop"},
)
def measure_first_steps(subject: Subject) -> Finding:
    """The first steps have their full size."""
    size, updates = subject.first_update.gradients[0], 5_000
    places = run_optimizer(subject, np.full(updates, size))
    steps = -np.diff(places, prepend=0.0) / subject.algo.lr
    half = int(np.argmax(steps >= steps[-1] / 2)) + 1
    found = f"gradient {size:.1e}: step {steps[0]:.1e} lr at first, {steps[-1]:.1e} lr in the end, half of that after "
    return judge(True, f"{found}{half:,} updates", differs=half > 1)


@probe(
    "optimizer",
    OPTIMIZERS,
    "Kingma and Ba 2015: bias is corrected",
    {"optimizer_adam"},
)
def measure_first_adam_steps(subject: Subject) -> Finding:
    """The first steps have their full size."""
    if subject.algo_name == "pg":
        subject.require_choice()
    size = subject.first_update.gradients[0]
    steps = -np.diff(run_optimizer(subject, np.full(1_000, size)), prepend=0.0) / subject.algo.lr
    found = f"gradient {size:.1e}: step {steps[0]:.2f} lr at first, {steps[-1]:.2f} lr after 1,000 updates"
    return judge(bool(steps[0] > 0.5 * steps[-1]), found)


@probe(
    "optimizer",
    "algorithms/learner.py: anneal",
    "PPO and A3C papers: falls to 0 over the run; SB3's default is constant",
)
def follow_step_size(subject: Subject) -> Finding:
    """The step size follows its schedule."""
    learner, algo, sizes = subject.copy_learner(), subject.algo, []
    for share in (0.0, 0.5, 1.0):
        learner.begin_update(share)
        for p in learner.parameters:
            p.grad = torch.zeros_like(p)
        learner.move_weights()
        sizes.append(learner.get_optimizer(DEFAULT_MODULE_ID).param_groups[0]["lr"])
    expected = (algo.lr, algo.lr / 2, 0.0) if algo.lr_schedule == "linear" else (algo.lr,) * 3
    found = f"in the optimizer: start {sizes[0]:g}, middle {sizes[1]:g}, end {sizes[2]:g} ({algo.lr_schedule})"
    return judge(np.allclose(sizes, expected) and read_shares(subject) == [0.0, 0.5, 1.0], found)


def read_shares(subject: Subject) -> list[float]:
    """Return the share of the run that the live algorithm takes for done at its start, its middle and its end."""
    progress, budget, shares = subject.algorithm.progress, subject.settings["stop"]["agent_steps"], []
    now = progress.agent_steps
    for agent_steps in (0, budget / 2, budget):
        progress.agent_steps = agent_steps
        shares.append(subject.algorithm.compute_share_done())
    progress.agent_steps = now
    return shares


@probe(
    "optimizer",
    "algorithms/learner.py: clip_gradient",
    "baselines, SB3, CleanRL: 0.5; the A3C paper has no limit, PFRL 40 on a sum",
)
def clip_gradient(subject: Subject) -> Finding:
    """A gradient that is too long is scaled down, all parameters together."""
    learner, limit = subject.copy_learner(), subject.algo.max_grad_norm
    learner.begin_update(0.0)
    for p in learner.parameters:
        p.grad = torch.full_like(p, 3.0)
    before = float(learner.clip_gradient())
    after = float(torch.cat([p.grad.flatten() for p in learner.parameters]).norm())
    wanted = before if limit is None else min(before, limit)
    right = abs(after - wanted) < 1e-2 * wanted  # float32 sums of a million numbers
    return judge(right, f"norm {before:,.0f} becomes {after:,.3g}; limit {limit}")


@probe(
    "optimizer",
    "algorithms/learner.py: step",
    "all: the same; PG's value head is never trained",
)
def follow_parameters(subject: Subject) -> Finding:
    """Every parameter has a gradient and moves in the first update."""
    subject.require_choice()
    count, still = subject.first_update.parameters, subject.first_update.still
    no_critic = subject.algo_name == "pg" or subject.algo.vf_coeff == 0
    allowed = {name for name in still if name.startswith("value")} if no_critic else set()
    return judge(set(still) <= allowed, f"{count - len(still)} of {count} moved; still: {', '.join(still) or 'none'}")
