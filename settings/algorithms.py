"""The settings of each algorithm, in the words of its paper.

Their values stand in experiments/algo/, with the reasons. A loss reads them as attributes: `algo.clip`.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from settings.mistakes import Mistake
from settings.own_parts import import_module
from settings.setting import (
    ENVS,
    MANY,
    PROCESSES,
    STEPS,
    YEAR_S,
    Setting,
    above,
    any_value,
    at_least,
    list_settings,
    one_of,
)

LINEAR = ("linear", "constant")
LARGEST_ADAM_EPS = 1e-3
MICROBATCH = "agent steps whose gradient is computed at once, to save memory; null: all"
# Settings that decide what a checkpoint holds, the optimizer's statistics among it; it fits one value of each.
PART_OF_CHECKPOINT = ("optimizer", "rmsprop_start", "dueling")
# A setting that all versions have -> those that came later beside it, with the values that earlier versions had.
EARLIER_OF_ALGORITHMS = {"optimizer": {"rmsprop_start": 1}, "ship": {"workers_together": 1}}


@dataclass(frozen=True)
class AlgorithmSettings:
    """The settings of every algorithm."""

    name: str = any_value("the name under which results are filed")


def describe_adam_epsilon(algo: dict[str, Any]) -> str | None:
    """Return a sentence on an epsilon with which Adam hardly moves; None where there is none."""
    if algo.get("optimizer") != "adam" or algo["optimizer_eps"] <= LARGEST_ADAM_EPS:
        return None
    return (
        f"algo.optimizer_eps={algo['optimizer_eps']:g} is large for Adam: where gradients are smaller, steps are "
        "a small part of algo.lr; algo.optimizer_eps=1e-5 is usual"
    )


@dataclass(frozen=True)
class PolicyGradientSettings(AlgorithmSettings):
    """The settings of the suite's own algorithms: envs, a discount, an entropy bonus, an optimizer."""

    num_envs: int = at_least(1, "envs that are played at once, over all processes; the papers' N", most=ENVS)
    lr: float = above(0, "step size of the optimizer, at the start of the run")
    lr_schedule: str = one_of(LINEAR, "schedule of the step size: linear falls to 0 at stop.agent_steps")
    optimizer: str = one_of(
        ("adam", "rmsprop"),
        "the optimizer; rmsprop has epsilon under the root, as in the A3C paper",
    )
    optimizer_eps: float = above(0, "epsilon of the optimizer; with 0, a gradient of 0 would be divided by 0")
    rmsprop_start: int = one_of(
        (0, 1),
        "where RMSProp's mean of squared gradients starts; 1: TensorFlow's, first steps are small; 0: torch's, first "
        "steps are up to 10 times as large as later ones",
    )
    max_grad_norm: float | None = above(
        0, "a gradient whose norm, over all parameters, is larger is scaled down to it; null: never"
    )
    gamma: float = at_least(0, "discount of rewards, per agent step", most=1)
    entropy_coeff: float = at_least(0, "weight of the entropy bonus in the loss; beta")


@dataclass(frozen=True)
class PGSettings(PolicyGradientSettings):
    """The settings of PG, REINFORCE (Williams 1992)."""

    episodes_per_update: int = at_least(1, "complete games that an update learns from", most=MANY)
    baseline: str = one_of(
        ("average", "none"), "number that is subtracted from returns: their mean over the batch, or nothing"
    )
    standardize_returns: bool = any_value("divide returns by their standard deviation over the batch")
    microbatch_size: int | None = at_least(1, MICROBATCH, most=STEPS)


@dataclass(frozen=True)
class ActorCriticSettings(PolicyGradientSettings):
    """The settings of the algorithms that learn a value as well."""

    horizon: int = at_least(2, "agent steps per env and update; T in PPO's paper, t_max in A3C's", most=MANY)
    gae_lambda: float = at_least(0, "lambda of generalised advantage estimation; 1: n-step returns", most=1)
    vf_coeff: float = at_least(0, "weight of the value loss, 0.5 (V - target)^2")
    normalize_advantages: bool = any_value("standardise advantages, per gradient step")


@dataclass(frozen=True)
class A2CSettings(ActorCriticSettings):
    """The settings of A2C, the synchronous form of A3C (Mnih et al. 2016)."""

    microbatch_size: int | None = at_least(1, MICROBATCH, most=STEPS)


@dataclass(frozen=True)
class A3CSettings(A2CSettings):
    """The settings of A3C (Mnih et al. 2016)."""

    num_workers: int = at_least(
        0, "workers, each with envs and a copy of the model of its own; 0: one, in the main process", most=PROCESSES
    )
    workers_together: int = at_least(
        1,
        "workers of one process that play side by side, with the same weights; their gradients are applied one by one",
        most=PROCESSES,
    )
    ship: str = one_of(
        ("gradients", "experience"),
        "data that workers send: gradients, as in the paper, or the experience, as in the lecture",
    )
    worker_timeout_s: float = above(
        0, "seconds of silence after which a worker's process is started again", most=YEAR_S
    )


@dataclass(frozen=True)
class PPOSettings(ActorCriticSettings):
    """The settings of PPO (Schulman et al. 2017)."""

    num_epochs: int = at_least(1, "passes over each rollout", most=1000)
    minibatch_size: int = at_least(
        2, "agent steps per gradient step; whole sequences where there is an LSTM", most=STEPS
    )
    clip: float = above(0, "how far the probability ratio may move before it is clipped; epsilon")
    clip_schedule: str = one_of(LINEAR, "schedule of clip: linear falls to 0 at stop.agent_steps")
    vf_clip: float | None = above(0, "how far a value may move from the old one; falls with clip; null: freely")
    kl_coeff: float = at_least(0, "weight of the KL penalty at the start (eq. 8); adapted to kl_target; 0: off")
    kl_target: float = above(0, "KL divergence between old and new policy that kl_coeff is adapted to, in nats")
    overlap: bool = any_value("play the next rollouts while learning from the last; needs env runners")


@dataclass(frozen=True)
class DQNSettings(AlgorithmSettings):
    """The settings of DQN (Mnih et al. 2015)."""

    minibatch_size: int = at_least(1, "agent steps per gradient step, drawn from the replay buffer", most=STEPS)
    buffer_size: int = at_least(1, "agent steps that the replay buffer holds", most=STEPS)
    target_every: int = at_least(1, "agent steps between two copies of Q into the target network", most=STEPS)
    gamma: float = at_least(0, "discount of rewards, per agent step", most=1)
    train_every: int = at_least(1, "agent steps per gradient step", most=MANY)
    lr: float = above(0, "step size of Adam")
    epsilon_start: float = at_least(0, "share of random actions at the start", most=1)
    epsilon_end: float = at_least(0, "share of random actions in the end", most=1)
    epsilon_agent_steps: int = at_least(1, "agent steps from epsilon_start to epsilon_end, linearly", most=STEPS)
    learning_starts: int = at_least(1, "agent steps before the first gradient step", most=STEPS)
    num_envs: int = at_least(1, "envs that are played at once", most=ENVS)
    optimizer_eps: float = above(0, "epsilon of Adam; with 0, a gradient of 0 would be divided by 0")
    max_grad_norm: float | None = above(
        0, "a gradient whose norm, over all parameters, is larger is scaled down to it; null: never"
    )
    double_q: bool = any_value(
        "choose the next action by Q and value it by the target network (van Hasselt et al. 2016)"
    )
    dueling: bool = any_value("a value and advantages instead of Q (Wang et al. 2016)")
    prioritized: bool = any_value("draw agent steps with a large error more often (Schaul et al. 2016)")
    n_step: int = at_least(1, "agent steps of reward before the bootstrap", most=1000)


ALGORITHMS = {"pg": PGSettings, "a2c": A2CSettings, "a3c": A3CSettings, "ppo": PPOSettings, "dqn": DQNSettings}
IMPLEMENTATION = Setting("the module of an algorithm from outside of the suite; see docs/extending.md", str)


def import_implementation(algo: dict[str, Any]) -> ModuleType | None:
    """Return the module of an algorithm from outside of the suite; None for the suite's own algorithms.

    Args:
        algo: the `algo.` settings. `implementation` names a module with the classes Settings, Algorithm and Learner.

    Raises:
        Mistake: the module cannot be imported, or its Settings cannot be the settings of an algorithm.
    """
    name = algo.get("implementation")
    if name is None:
        return None
    typed = f"algo.implementation={name}"
    if not isinstance(name, str) or ":" in name:
        raise Mistake(f"{typed}: write the name of a module, without a class", "algo.implementation")
    module = import_module(name, typed)
    settings = getattr(module, "Settings", None)
    if not (isinstance(settings, type) and issubclass(settings, (PolicyGradientSettings, DQNSettings))):
        raise Mistake(
            f"{typed}: {module.__file__} needs a class Settings that derives from one of settings/algorithms.py, such "
            "as A2CSettings"
        )
    try:
        list_settings(settings)
    except (TypeError, NameError) as error:
        fields = [f.name for f in dataclasses.fields(settings) if "meaning" not in f.metadata]
        if not fields:
            raise Mistake(f"{typed}: Settings in {module.__file__}: {error}") from error
        name = fields[0]
        raise Mistake(
            f"{typed}: Settings.{name} in {module.__file__} is no setting; declare it as settings/setting.py does, "
            f'{name}: float = above(0, "what it means")'
        ) from error
    return module


def get_settings_class(algo: dict[str, Any]) -> type[AlgorithmSettings]:
    """Return the class of the settings of an algorithm, given its `algo.` settings.

    Raises:
        Mistake: there is no such algorithm, or its own module cannot be used.
    """
    module = import_implementation(algo)
    if module is None:
        if algo.get("name") not in ALGORITHMS:
            raise Mistake(f"algo.name={algo.get('name')} is not one of {', '.join(ALGORITHMS)}")
        return ALGORITHMS[algo["name"]]
    if algo.get("name") in ALGORITHMS:
        raise Mistake(
            f"algo.name={algo['name']} is an algorithm of the suite, and algo.implementation={algo['implementation']} "
            "another one; give it a name of its own"
        )
    return module.Settings


def list_earlier(algo: Iterable[str]) -> dict[str, Any]:
    """Return the newer settings of an algorithm, given the names of its settings: name -> value of earlier versions."""
    names = {*algo}
    return {name: value for old, new in EARLIER_OF_ALGORITHMS.items() if old in names for name, value in new.items()}


def remove_newer_settings(algo: dict[str, Any]) -> dict[str, Any]:
    """Return the `algo.` settings as an earlier version had them.

    A newer setting that decides what a checkpoint holds is removed only where it has the value of earlier versions.
    """
    earlier = {k: v for k, v in list_earlier(algo).items() if k not in PART_OF_CHECKPOINT or algo.get(k) == v}
    return {name: value for name, value in algo.items() if name not in earlier}


def find_base(algo: dict[str, Any]) -> str | None:
    """Return the name of the suite's algorithm that an algorithm is or builds on: that whose settings it derives from.

    None: it derives from the settings of no algorithm, but from those that several have.
    """
    names = {settings: name for name, settings in ALGORITHMS.items()}
    return next((names[one] for one in get_settings_class(algo).__mro__ if one in names), None)
