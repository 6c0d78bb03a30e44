"""The table of all settings: what each may be, and what RLlib calls it.

Settings use the papers' words. A key that is not in the table is refused with its nearest neighbours, whether it was
typed or stands in a YAML file; `runs/check.py` and `runs/build.py` read the table.
"""

import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from custom_models.convolutions import CONVS, SECTIONS
from environments.mistakes import Mistake
from environments.protocols import PROTOCOLS

THOUSANDS = re.compile(r"(\d+(?:\.\d+)?)([kM])")  # 10k, 1.5M


@dataclass(frozen=True)
class Setting:
    """What a setting may be, and where it goes.

    Attributes:
        meaning: what it is, with its unit, as --help has it.
        kind: int, float, bool, str, or list (of ints).
        low, high: smallest and largest value, both allowed.
        above: value it must exceed.
        options: the only values allowed.
        optional: whether null is a value.
        rllib: attribute of RLlib's config; None where `build` uses the setting itself.
        convert: applied on the way there.
    """

    meaning: str
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
            value = float(Decimal(found.group(1)) * {"k": 1_000, "M": 1_000_000}[found.group(2)])
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
            words += f" above {self.above}" + (f" and at most {shown(self.high)}" if self.high is not None else "")
        return words + (" or null" if self.optional else "")


def shown(number: float) -> str:
    """A limit: `0.5`, `16384`, `1,000,000,000,000`."""
    return f"{number:,.0f}" if number >= 100_000 else str(number)


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
ENVS = 2**16
MANY = 2**20  # agent steps of a rollout, neurons of a layer, trials
PROCESSES = 2**14  # and their CPUs
STEPS = 10**12  # agent steps of a run
YEAR_S = 366 * 86_400.0

# What every algorithm of the suite has: a number of envs, a discount, an entropy bonus, an optimizer.
SHARED_SETTINGS = {
    "num_envs": Setting("envs that are played at once, over all processes; the papers' N", int, 1, ENVS),
    "lr": Setting("step size of the optimizer, at the start of the run", float, above=0, rllib="lr"),
    "lr_schedule": Setting(
        "how the step size goes on: linear falls to 0 at stop.agent_steps",
        str,
        options=LINEAR,
        rllib="anneal_lr",
        convert=lambda v: v == "linear",
    ),
    "optimizer": Setting(
        "what turns gradients into steps; rmsprop has epsilon under the root, as the A3C paper has it",
        str,
        options=("adam", "rmsprop"),
        rllib="optimizer_name",
    ),
    "optimizer_eps": Setting("epsilon of the optimizer", float, 0, rllib="optimizer_eps"),
    "max_grad_norm": Setting(
        "a gradient whose norm, over all parameters, is larger is scaled down to it; null: never",
        float,
        above=0,
        optional=True,
        rllib="grad_clip",
    ),
    "gamma": Setting("discount of rewards, per agent step", float, 0, 1, rllib="gamma"),
    "entropy_coeff": Setting("weight of the entropy bonus in the loss; beta", float, 0, rllib="entropy_coeff"),
}
PG_SETTINGS = SHARED_SETTINGS | {
    "episodes_per_update": Setting("complete episodes that an update learns from", int, 1, MANY),
    "baseline": Setting(
        "what is subtracted from returns: their mean over the batch, or nothing",
        str,
        options=("average", "none"),
        rllib="baseline",
    ),
    "standardize_returns": Setting(
        "divide returns by their standard deviation over the batch", bool, rllib="standardize_returns"
    ),
    "microbatch_size": Setting(
        "agent steps whose gradient is computed at once, to save memory; null: all",
        int,
        1,
        STEPS,
        optional=True,
        rllib="microbatch_size",
    ),
}
ACTOR_CRITIC_SETTINGS = SHARED_SETTINGS | {
    "horizon": Setting(
        "agent steps per env and update; T in PPO's paper, t_max in A3C's",
        int,
        2,
        MANY,
        rllib="rollout_fragment_length",
    ),
    "gae_lambda": Setting(
        "lambda of generalised advantage estimation; 1: n-step returns", float, 0, 1, rllib="lambda_"
    ),
    "vf_coeff": Setting("weight of the value loss, 0.5 (V - target)^2", float, 0, rllib="vf_loss_coeff"),
    "normalize_advantages": Setting("standardise advantages, per gradient step", bool, rllib="normalize_advantages"),
}
A2C_SETTINGS = ACTOR_CRITIC_SETTINGS | {
    "microbatch_size": PG_SETTINGS["microbatch_size"],
}
A3C_SETTINGS = A2C_SETTINGS | {
    "num_workers": Setting(
        "workers, each with envs and a copy of the model of its own; 0: one, in the main process",
        int,
        0,
        PROCESSES,
        rllib="a3c_workers",
    ),
    "ship": Setting(
        "what workers send: gradients, as in the paper, or the experience, as in the lecture",
        str,
        options=("gradients", "experience"),
        rllib="ship",
    ),
    "worker_timeout_s": Setting(
        "seconds of silence after which a worker's process is started again",
        float,
        high=YEAR_S,
        above=0,
        rllib="worker_timeout_s",
    ),
}
PPO_SETTINGS = ACTOR_CRITIC_SETTINGS | {
    "num_epochs": Setting("passes over each rollout", int, 1, 1000, rllib="num_epochs"),
    "minibatch_size": Setting(
        "agent steps per gradient step; whole sequences where there is an LSTM", int, 2, STEPS, rllib="minibatch_size"
    ),
    "clip": Setting(
        "how far the probability ratio may move before it is clipped; epsilon", float, above=0, rllib="clip_param"
    ),
    "clip_schedule": Setting(
        "how clip goes on: linear falls to 0 at stop.agent_steps",
        str,
        options=LINEAR,
        rllib="anneal_clip",
        convert=lambda v: v == "linear",
    ),
    "vf_clip": Setting(
        "how far a value may move from the old one; falls with clip; null: freely",
        float,
        above=0,
        optional=True,
        rllib="vf_clip",
    ),
    "kl_coeff": Setting(
        "weight of the KL penalty at the start (eq. 8); adapted to kl_target; 0: off", float, 0, rllib="kl_coeff"
    ),
    "kl_target": Setting(
        "KL divergence between old and new policy that kl_coeff is adapted to, in nats",
        float,
        above=0,
        rllib="kl_target",
    ),
    "overlap": Setting("play the next rollouts while learning from the last; needs env runners", bool, rllib="overlap"),
}
DQN_SETTINGS = {  # without a name of RLlib's: DQNConfig.arrange
    "minibatch_size": Setting(
        "agent steps per gradient step, drawn from the replay buffer",
        int,
        1,
        STEPS,
        rllib="train_batch_size_per_learner",
    ),
    "buffer_size": Setting("agent steps that the replay buffer holds", int, 1, STEPS),
    "target_every": Setting(
        "agent steps between two copies of Q into the target network", int, 1, STEPS, rllib="target_network_update_freq"
    ),
    "gamma": SHARED_SETTINGS["gamma"],
    "train_every": Setting("agent steps per gradient step", int, 1, MANY),
    "lr": Setting("step size of Adam", float, above=0, rllib="lr"),
    "epsilon_start": Setting("share of random actions at the start", float, 0, 1),
    "epsilon_end": Setting("share of random actions in the end", float, 0, 1),
    "epsilon_agent_steps": Setting("agent steps from the one to the other, linearly", int, 1, STEPS),
    "learning_starts": Setting(
        "agent steps before the first gradient step",
        int,
        1,
        STEPS,
        rllib="num_steps_sampled_before_learning_starts",
    ),
    "num_envs": Setting("envs that are played at once", int, 1, ENVS),
    "optimizer_eps": Setting("epsilon of Adam", float, 0, rllib="adam_epsilon"),
    "max_grad_norm": SHARED_SETTINGS["max_grad_norm"],
    "double_q": Setting(
        "choose the next action by Q and value it by the target network (van Hasselt et al. 2016)",
        bool,
        rllib="double_q",
    ),
    "dueling": Setting("a value and advantages instead of Q (Wang et al. 2016)", bool, rllib="dueling"),
    "prioritized": Setting("draw what had a large error more often (Schaul et al. 2016)", bool),
    "n_step": Setting("agent steps of reward before the bootstrap", int, 1, 1000, rllib="n_step"),
}
ALGO_SETTINGS = {"pg": PG_SETTINGS, "a2c": A2C_SETTINGS, "a3c": A3C_SETTINGS, "ppo": PPO_SETTINGS, "dqn": DQN_SETTINGS}

ATARI_SETTINGS = {
    "game": Setting("a game of ALE, such as assault or ms_pacman", str),
    "protocol": Setting(
        "the rules that scores are published under; sets the fields below", str, options=tuple(PROTOCOLS)
    ),
    "frameskip": Setting("emulator frames per agent step, the last two maximised", int, 1, 16, rllib="frameskip"),
    "frame_stack": Setting("frames that the agent sees at once", int, 1, 16, rllib="frame_stack"),
    "dim": Setting("height and width of the picture, in pixels", int, 8, 210),
    "grayscale": Setting("gray instead of RGB", bool),
    "sticky": Setting(
        "probability that the emulator repeats the last action instead of taking the new one", float, 0, 1
    ),
    "full_action_space": Setting("all 18 actions instead of those that do something in the game", bool),
    "noop_max": Setting(
        "a game starts after fewer no-ops than this, drawn at random; in emulator frames", int, 0, 10_000
    ),
    "fire_reset": Setting("press FIRE once after a reset, where the game has it", bool),
    "fire_on_life_loss": Setting("press FIRE for one step after a lost life, where the game has it", bool),
    "life_loss": Setting("a lost life ends a training episode; evaluation plays on", bool),
    "clip_rewards": Setting("learn from the sign of rewards; scores stay what they are", bool, rllib="clip_rewards"),
    "max_episode_frames": Setting("emulator frames after which a game is cut", int, 1, 2**31 - 1),
}
GYMNASIUM_SETTINGS = {
    "id": Setting("an id of Gymnasium, such as CartPole-v1; module:Id imports the module first", str),
    "frameskip": Setting("steps of the environment per agent step", int, 1, 1, rllib="frameskip"),
    "clip_rewards": Setting("learn from the sign of rewards; scores stay what they are", bool, rllib="clip_rewards"),
}

MODEL_SETTINGS = {
    "torso": Setting("the network from observations to features", str, options=(*CONVS, *SECTIONS, "mlp")),
    "activation": Setting("what follows each layer", str, options=("relu", "elu", "tanh")),
    "init": Setting("how weights begin", str, options=("orthogonal", "he_uniform", "torch")),
    "zero_mean": Setting("pixels enter from -1 to 1 instead of 0 to 1", bool),
    "shared_trunk": Setting("policy and value head on one torso; false: one each", bool),
    "lstm_size": Setting("units of an LSTM between torso and heads; null: none", int, 1, MANY, optional=True),
    "dtype": Setting(
        "what the torso computes in; auto: bfloat16 where the hardware has it",
        str,
        options=("auto", "float32", "bfloat16"),
    ),
}
UNITS = "units of the fully connected layer"
HIDDEN = {torso: Setting(f"{UNITS}; null: none", int, 1, MANY, optional=True) for torso in CONVS}
HIDDEN |= {torso: Setting(UNITS, int, 1, MANY) for torso in SECTIONS}
HIDDEN |= {"mlp": Setting("units of each fully connected layer", list, 1, MANY)}

CLUSTER_SETTINGS = {
    "address": Setting("local: Ray of the run's own; auto or host:port: a cluster that runs already", str),
    "grows": Setting("the cluster has an autoscaler: wait for nodes that it adds", bool),
    "placement": Setting(
        "processes of a run on one node where they fit, or spread over the nodes",
        str,
        options=("pack", "spread"),
        rllib="placement_strategy",
        convert=str.upper,
    ),
    "num_env_runners": Setting(
        "processes that play; 0: the training process plays; null: as the algorithm wants",
        int,
        0,
        PROCESSES,
        optional=True,
    ),
    "cpus_per_runner": Setting("CPUs of each of them", float, 0.001, PROCESSES, rllib="num_cpus_per_env_runner"),
    "cpus": Setting(
        "CPUs of the training process; null: what others leave, 8 at most; 1 for mlp",
        int,
        1,
        PROCESSES,
        optional=True,
    ),
    "num_learners": Setting(
        "processes that learn; 0: the training process does", int, 0, PROCESSES, rllib="num_learners"
    ),
    "gpus_per_learner": Setting(
        "GPUs of each learner; a fraction where runs share one", float, 0, 1, rllib="num_gpus_per_learner"
    ),
    "gpus_per_runner": Setting(
        "GPUs of each env runner, which then acts there", float, 0, 1, rllib="num_gpus_per_env_runner"
    ),
}
STOP_SETTINGS = {
    "agent_steps": Setting(
        "agent steps after which a run ends; each lasts env.frameskip emulator frames",
        int,
        1,
        STEPS,
        rllib="total_agent_steps",
    ),
    "time_s": Setting(
        "seconds of training after which it ends; null: never", float, high=YEAR_S, above=0, optional=True
    ),
    "episode_return": Setting(
        "mean score of the last 100 games, at least 20, at which it ends; null: never", float, optional=True
    ),
}
PART_OF_WEIGHTS = ("optimizer", "dueling")  # of algo: a checkpoint fits no other
SEED = Setting("of all random streams; or a list, 1,2,3 or range(1,4), for one run per seed", int, 0, 2**31 - 1)
TOP_SETTINGS = {
    "output_dir": Setting("runs go to <output_dir>/<algo>/<env>/", str),
    "label": Setting("a word that is added to the run directory's name", str, optional=True),
    "run": Setting(
        "the run directory that command=evaluate, record, page, watch and promote read; or latest", str, optional=True
    ),
    "checkpoint": Setting(
        "what command=evaluate, record, page and watch play with: best, last, previous, milestone_<percent>, a path; "
        "null: the best there is, and the newest for watch",
        str,
        optional=True,
    ),
    "way": Setting(
        "how command=evaluate chooses actions: drawn, the likeliest, or both in turn; record draws, if not told greedy",
        str,
        options=("stochastic", "greedy", "both"),
    ),
    "games": Setting("complete games that command=record plays and films", int, 1, 1000),
    "format": Setting("of command=record's videos; only mp4 has sound", str, options=("mp4", "webp", "gif")),
    "scale": Setting(
        "of command=record's videos: each pixel becomes so many squared; null: 2 for Atari, else 1",
        int,
        1,
        8,
        optional=True,
    ),
    "fps": Setting(
        "pictures per second of command=record's videos; null: 60 in mp4, else 15",
        int,
        options=(60, 30, 15),
        optional=True,
    ),
    "replay": Setting(
        "the file of a recorded game, which command=record scores and films again instead of playing",
        str,
        optional=True,
    ),
    "port": Setting(
        "of command=watch's page on 127.0.0.1; null: 8008, or the next one that is free", int, 1, 65_535, optional=True
    ),
    "resume": Setting(
        "a run directory to continue, or latest; auto: this very experiment, if it has begun", str, optional=True
    ),
    "trust": Setting("continue a run directory of another user or host, whose pickles can run any code", bool),
    "on_usr1": Setting(
        "what the signal SIGUSR1 does: write a checkpoint and go on, or stop", str, options=("checkpoint", "stop")
    ),
    "episodes": Setting("complete games per evaluation and way of playing", int, 1, 10_000),
    "evaluate": Setting("play complete games at the end of training", bool),
    "page": Setting("record a game at the end of training, and write the page of the run", bool),
    "checkpoint_every_s": Setting(
        "seconds between checkpoints; there is one at the end, too",
        float,
        high=YEAR_S,
        above=0,
        rllib="checkpoint_every_s",
    ),
    "keep_milestones": Setting(
        "keep the weights at 0, 1, 3, 10, 30 and 100 % of stop.agent_steps, to play with; see checkpoint", bool
    ),
    "report_every": Setting(
        "agent steps per row of progress.csv, rounded up to whole rollouts", int, 1, STEPS, rllib="report_every"
    ),
    "max_failures": Setting("how often a run whose process died starts again from its checkpoint", int, 0, PROCESSES),
    "dashboard": Setting("start Ray's dashboard, at http://127.0.0.1:8265", bool),
    "dry_run": Setting("say what would run where, and stop", bool),
    "command": Setting(
        "what to do", str, options=("train", "evaluate", "record", "page", "watch", "search", "promote", "submit")
    ),
    "size": Setting(
        "how long: smoke under a minute, short some minutes, full as the experiment says",
        str,
        options=("smoke", "short", "full"),
    ),
}


SEARCH_SETTINGS = {  # `search.space` is read by runs/space.py
    "name": Setting("names the search and its directory, <output_dir>/searches/<name>", str),
    "trials": Setting("settings that are tried; each for stop.agent_steps at most", int, 1, MANY),
    "concurrent": Setting("trials at once; null: as many as fit", int, 1, PROCESSES, optional=True),
    "seeds_per_trial": Setting("seeds per trial; its score is their mean", int, 1, 100),
    "sampler": Setting(
        "what proposes settings: Optuna's TPE, random, CMA-ES or a Gaussian process",
        str,
        options=("tpe", "random", "cmaes", "gp"),
    ),
    "scheduler": Setting(
        "which trials stop early: asha, median or none; pbt changes settings while they train",
        str,
        options=("asha", "median", "pbt", "none"),
    ),
    "reduction_factor": Setting("one trial in so many goes on at each rung; asha and median", int, 2, 100),
    "rungs": Setting("comparisons before the end, the first at 1 / reduction_factor^rungs; asha, median", int, 1, 10),
    "generations": Setting("pbt: parts of the budget; between them the worst go on from the best", int, 2, 1000),
    "storage": Setting("sqlite or journal, in the search's directory; or the URL of a database", str),
    "contenders": Setting("how many of the best trials are trained with more seeds when all have ended", int, 1, 1000),
    "contender_seeds": Setting("how many more seeds each contender is trained with", int, 0, 100),
    "finalists": Setting(
        "how many of them are compared with the settings the search began with",
        int,
        1,
        1000,
    ),
    "fresh_seeds": Setting("fresh seeds that finalists are compared on; 0: no comparison", int, 0, 100),
}


def tables(settings: dict) -> dict[str, tuple[dict[str, Setting], str]]:
    """Group -> (its settings, whose they are), for the algorithm, environment and torso chosen."""
    algo, env, torso = (settings[g].get(k) for g, k in (("algo", "name"), ("env", "name"), ("model", "torso")))
    for key, value in {"algo.name": algo, "env.name": env, "model.torso": torso}.items():
        if value is not None and not isinstance(value, str):
            raise Mistake(f"{key}={value} is {of_kind(value)}; it takes a word")
    if algo not in ALGO_SETTINGS:
        raise Mistake(f"algo.name={algo} is not one of {', '.join(ALGO_SETTINGS)}")
    name = {"name": Setting("what results are filed under", str)}
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
