"""The table of all settings: what each may be, and what RLlib calls it.

Settings use the papers' words. A key that is not in the table is refused with its nearest neighbours, whether it was
typed or stands in a YAML file; `runs/check.py` and `runs/build.py` read the table.
"""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from custom_models.convolutions import CONVS, SECTIONS
from environments.mistakes import Mistake
from environments.protocols import PROTOCOLS

THOUSANDS = re.compile(r"(\d+(?:\.\d+)?)([kM])")  # 10k, 1.5M


@dataclass(frozen=True)
class Setting:
    """What a setting may be, and where it goes.

    Attributes:
        kind: int, float, bool, str, or list (of ints).
        low, high: smallest and largest value, both allowed.
        above: value it must exceed.
        options: the only values allowed.
        optional: whether null is a value.
        rllib: attribute of RLlib's config; None where `build` uses the setting itself.
        convert: applied on the way there.
    """

    kind: type
    low: float | None = None
    high: float | None = None
    above: float | None = None
    options: tuple = ()
    optional: bool = False
    rllib: str | None = None
    convert: Callable[[Any], Any] = lambda value: value

    def check(self, key: str, value: Any) -> Any:
        """The value as its kind, or a Mistake."""
        if value is None:
            if self.optional:
                return None
            raise Mistake(f"{key} is not set; it takes {self.wanted()}")
        if self.kind is int and type(value) is str and (found := THOUSANDS.fullmatch(value)):
            value = float(found.group(1)) * {"k": 1e3, "M": 1e6}[found.group(2)]
        if self.kind is float and type(value) is int:
            value = float(value)
        if self.kind is int and type(value) is float and value.is_integer():
            value = int(value)
        items = value if self.kind is list and type(value) is list else [value]
        if type(value) is not self.kind or (self.kind is list and not items):
            raise Mistake(f"{key}={value} is {of_kind(value)}; it takes {self.wanted()}")
        for item in items:
            if self.kind is list and type(item) is not int:
                raise Mistake(f"{key}={value}: {item} is {of_kind(item)}; it takes {self.wanted()}")
            if self.options and item not in self.options:
                near = difflib.get_close_matches(str(item), [str(o) for o in self.options], n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise Mistake(f"{key}={value} is not one of {', '.join(map(str, self.options))}{hint}")
            if isinstance(item, int | float) and not isinstance(item, bool):
                low, high, above = self.low, self.high, self.above
                outside = (low is not None and item < low) or (high is not None and item > high)
                if outside or (above is not None and item <= above) or not math.isfinite(item):
                    raise Mistake(f"{key}={value} is out of range; it takes {self.wanted()}")
        return value

    def wanted(self) -> str:
        """In words: `a whole number of at least 1`."""
        if self.options:
            return "one of " + ", ".join(map(str, self.options))
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}.get(
            self.kind, "a list of whole numbers"
        )
        if self.low is not None and self.high is not None:
            words += f" from {shown(self.low)} to {shown(self.high)}"
        elif self.low is not None:
            words += f" of at least {shown(self.low)}"
        elif self.above is not None:
            words += f" above {self.above}" + (f" and at most {self.high:g}" if self.high is not None else "")
        return words + (" or null" if self.optional else "")


def shown(number: float) -> str:
    """A limit: `0.5`, `16384`, `1,000,000,000,000`."""
    return f"{number:,}" if number >= 100_000 else str(number)


def of_kind(value: Any) -> str:
    """In words: what somebody typed."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str) and value[:1].isdecimal():
        return "no number"
    return {str: "a word", list: "a list", dict: "a group"}.get(type(value), "nothing")


LINEAR = ("linear", "constant")

# Upper ends, beyond what any machine can have: more would wait without an end, or crash without a sentence.
MANY = 2**20  # envs, agent steps of a rollout, neurons of a layer, trials
PROCESSES = 2**14  # and their CPUs
STEPS = 10**12  # agent steps of a run
YEAR_S = 366 * 86_400.0

# What every algorithm of the suite has: a number of envs, a discount, an entropy bonus, an optimizer.
SHARED_SETTINGS = {
    "num_envs": Setting(int, 1, MANY),
    "lr": Setting(float, above=0, rllib="lr"),
    "lr_schedule": Setting(str, options=LINEAR, rllib="anneal_lr", convert=lambda v: v == "linear"),
    "optimizer": Setting(str, options=("adam", "rmsprop"), rllib="optimizer_name"),
    "optimizer_eps": Setting(float, 0, rllib="optimizer_eps"),
    "max_grad_norm": Setting(float, above=0, optional=True, rllib="grad_clip"),
    "gamma": Setting(float, 0, 1, rllib="gamma"),
    "entropy_coeff": Setting(float, 0, rllib="entropy_coeff"),
}
PG_SETTINGS = SHARED_SETTINGS | {
    "episodes_per_update": Setting(int, 1, MANY),
    "baseline": Setting(str, options=("average", "none"), rllib="baseline"),
    "standardize_returns": Setting(bool, rllib="standardize_returns"),
    "microbatch_size": Setting(int, 1, STEPS, optional=True, rllib="microbatch_size"),
}
ACTOR_CRITIC_SETTINGS = SHARED_SETTINGS | {
    "horizon": Setting(int, 2, MANY, rllib="rollout_fragment_length"),
    "gae_lambda": Setting(float, 0, 1, rllib="lambda_"),
    "vf_coeff": Setting(float, 0, rllib="vf_loss_coeff"),
    "normalize_advantages": Setting(bool, rllib="normalize_advantages"),
}
A2C_SETTINGS = ACTOR_CRITIC_SETTINGS | {
    "microbatch_size": Setting(int, 1, STEPS, optional=True, rllib="microbatch_size"),
}
A3C_SETTINGS = A2C_SETTINGS | {
    "num_workers": Setting(int, 0, PROCESSES, rllib="a3c_workers"),
    "ship": Setting(str, options=("gradients", "experience"), rllib="ship"),
    "worker_timeout_s": Setting(float, high=YEAR_S, above=0, rllib="worker_timeout_s"),
}
PPO_SETTINGS = ACTOR_CRITIC_SETTINGS | {
    "num_epochs": Setting(int, 1, 1000, rllib="num_epochs"),
    "minibatch_size": Setting(int, 2, STEPS, rllib="minibatch_size"),
    "clip": Setting(float, above=0, rllib="clip_param"),
    "clip_schedule": Setting(str, options=LINEAR, rllib="anneal_clip", convert=lambda v: v == "linear"),
    "vf_clip": Setting(float, above=0, optional=True, rllib="vf_clip"),
    "kl_coeff": Setting(float, 0, rllib="kl_coeff"),
    "kl_target": Setting(float, above=0, rllib="kl_target"),
    "overlap": Setting(bool, rllib="overlap"),
}
DQN_SETTINGS = {  # without a name of RLlib's: DQNConfig.arrange
    "minibatch_size": Setting(int, 1, STEPS, rllib="train_batch_size_per_learner"),
    "buffer_size": Setting(int, 1, STEPS),
    "target_every": Setting(int, 1, STEPS, rllib="target_network_update_freq"),
    "gamma": Setting(float, 0, 1, rllib="gamma"),
    "train_every": Setting(int, 1, MANY),
    "lr": Setting(float, above=0, rllib="lr"),
    "epsilon_start": Setting(float, 0, 1),
    "epsilon_end": Setting(float, 0, 1),
    "epsilon_agent_steps": Setting(int, 1, STEPS),
    "learning_starts": Setting(int, 1, STEPS, rllib="num_steps_sampled_before_learning_starts"),
    "num_envs": Setting(int, 1, MANY),
    "optimizer_eps": Setting(float, 0, rllib="adam_epsilon"),
    "max_grad_norm": Setting(float, above=0, optional=True, rllib="grad_clip"),
    "double_q": Setting(bool, rllib="double_q"),
    "dueling": Setting(bool, rllib="dueling"),
    "prioritized": Setting(bool),
    "n_step": Setting(int, 1, 1000, rllib="n_step"),
}
ALGO_SETTINGS = {"pg": PG_SETTINGS, "a2c": A2C_SETTINGS, "a3c": A3C_SETTINGS, "ppo": PPO_SETTINGS, "dqn": DQN_SETTINGS}

ATARI_SETTINGS = {
    "game": Setting(str),
    "protocol": Setting(str, options=tuple(PROTOCOLS)),
    "frameskip": Setting(int, 1, 16, rllib="frameskip"),
    "frame_stack": Setting(int, 1, 16, rllib="frame_stack"),
    "dim": Setting(int, 8, 210),
    "grayscale": Setting(bool),
    "sticky": Setting(float, 0, 1),
    "full_action_space": Setting(bool),
    "noop_max": Setting(int, 0, 10_000),
    "fire_reset": Setting(bool),
    "fire_on_life_loss": Setting(bool),
    "life_loss": Setting(bool),
    "clip_rewards": Setting(bool, rllib="clip_rewards"),
    "max_episode_frames": Setting(int, 1, 2**31 - 1),
}
GYMNASIUM_SETTINGS = {
    "id": Setting(str),
    "frameskip": Setting(int, 1, 1, rllib="frameskip"),
    "clip_rewards": Setting(bool, rllib="clip_rewards"),
}

MODEL_SETTINGS = {
    "torso": Setting(str, options=(*CONVS, *SECTIONS, "mlp")),
    "activation": Setting(str, options=("relu", "elu", "tanh")),
    "init": Setting(str, options=("orthogonal", "he_uniform", "torch")),
    "zero_mean": Setting(bool),
    "shared_trunk": Setting(bool),
    "lstm_size": Setting(int, 1, MANY, optional=True),
    "dtype": Setting(str, options=("auto", "float32", "bfloat16")),
}
HIDDEN = {torso: Setting(int, 1, MANY, optional=torso in CONVS) for torso in (*CONVS, *SECTIONS)} | {
    "mlp": Setting(list, 1, MANY)
}

CLUSTER_SETTINGS = {
    "address": Setting(str),
    "grows": Setting(bool),
    "placement": Setting(str, options=("pack", "spread"), rllib="placement_strategy", convert=str.upper),
    "num_env_runners": Setting(int, 0, PROCESSES, optional=True),
    "cpus_per_runner": Setting(float, 0.001, PROCESSES, rllib="num_cpus_per_env_runner"),
    "cpus": Setting(int, 1, PROCESSES, optional=True),
    "num_learners": Setting(int, 0, PROCESSES, rllib="num_learners"),
    "gpus_per_learner": Setting(float, 0, 1, rllib="num_gpus_per_learner"),
    "gpus_per_runner": Setting(float, 0, 1, rllib="num_gpus_per_env_runner"),
}
STOP_SETTINGS = {
    "agent_steps": Setting(int, 1, STEPS, rllib="total_agent_steps"),
    "time_s": Setting(float, high=YEAR_S, above=0, optional=True),
    "episode_return": Setting(float, optional=True),
}
PART_OF_WEIGHTS = ("optimizer", "dueling")  # of algo: a checkpoint fits no other
TOP_SETTINGS = {
    "output_dir": Setting(str),
    "label": Setting(str, optional=True),
    "run": Setting(str, optional=True),
    "checkpoint": Setting(str, optional=True),
    "way": Setting(str, options=("stochastic", "greedy", "both")),
    "resume": Setting(str, optional=True),
    "trust": Setting(bool),
    "on_usr1": Setting(str, options=("checkpoint", "stop")),
    "episodes": Setting(int, 1, 10_000),
    "evaluate": Setting(bool),
    "checkpoint_every_s": Setting(float, high=YEAR_S, above=0, rllib="checkpoint_every_s"),
    "report_every": Setting(int, 1, STEPS, rllib="report_every"),
    "max_failures": Setting(int, 0, PROCESSES),
    "dashboard": Setting(bool),
    "dry_run": Setting(bool),
    "command": Setting(str, options=("train", "evaluate", "search", "promote", "submit")),
    "size": Setting(str, options=("smoke", "short", "full")),
}


SEARCH_SETTINGS = {  # `search.space` is read by runs/space.py
    "name": Setting(str),
    "trials": Setting(int, 1, MANY),
    "concurrent": Setting(int, 1, PROCESSES, optional=True),
    "seeds_per_trial": Setting(int, 1, 100),
    "sampler": Setting(str, options=("tpe", "random", "cmaes", "gp")),
    "scheduler": Setting(str, options=("asha", "median", "pbt", "none")),
    "reduction_factor": Setting(int, 2, 100),
    "rungs": Setting(int, 1, 10),
    "generations": Setting(int, 2, 1000),
    "storage": Setting(str),
    "contenders": Setting(int, 1, 1000),
    "contender_seeds": Setting(int, 0, 100),
    "finalists": Setting(int, 1, 1000),
    "fresh_seeds": Setting(int, 0, 100),
}


def tables(settings: dict) -> dict[str, tuple[dict[str, Setting], str]]:
    """Group -> (its settings, whose they are), for the algorithm, environment and torso chosen."""
    algo, env, torso = (settings[g].get(k) for g, k in (("algo", "name"), ("env", "name"), ("model", "torso")))
    for key, value in {"algo.name": algo, "env.name": env, "model.torso": torso}.items():
        if value is not None and not isinstance(value, str):
            raise Mistake(f"{key}={value} is {of_kind(value)}; it takes a word")
    if algo not in ALGO_SETTINGS:
        raise Mistake(f"algo.name={algo} is not one of {', '.join(ALGO_SETTINGS)}")
    name = {"name": Setting(str)}
    return {
        "algo": (name | ALGO_SETTINGS[algo], algo.upper()),
        "env": (name | (ATARI_SETTINGS if "game" in settings["env"] else GYMNASIUM_SETTINGS), str(env)),
        "model": (MODEL_SETTINGS | {"hidden": HIDDEN.get(torso, HIDDEN["mlp"])}, str(torso)),
        "cluster": (CLUSTER_SETTINGS, "a cluster"),
        "stop": (STOP_SETTINGS, "stop"),
    }


def unknown(key: str, whose: str, known: list[str]) -> Mistake:
    """The sentence for a key that nobody knows: names its nearest neighbours."""
    near = difflib.get_close_matches(key, known, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else f"; it has {', '.join(known)}"
    return Mistake(f"{key}: {whose} has no such setting{hint}")
