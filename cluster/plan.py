"""The plan of a run: its seeds, and the processes it consists of with their CPUs and GPUs, computed once and handed on.

    checked settings, this machine's CPUs -> make_plan -> Plan -> RLlib config, placement, Ray Tune, messages

Nothing here needs Ray or RLlib: a run that cannot fit is refused before either is imported.
"""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from environments.machine import count_cpus, find_fastest_dtype
from environments.passwords import mask_passwords
from settings.algorithms import find_base
from settings.mistakes import Mistake, format_count
from settings.runs import SEED

MAX_CPUS = 8  # of a training process that takes what there is: more threads do not make these networks faster
DIGITS = 6  # behind the point: five times 0.2 CPUs are one CPU, and no more
Bundle = dict[str, float]  # what one process takes: CPU, GPU, memory in bytes; zeros are left out, as in Ray


@dataclass(frozen=True)
class Plan:
    """The processes of one run, or of one trial of a search, derived from its settings and from this machine.

    A trial of a search trains several seeds in one training process; a training has one such process per seed.

    Attributes:
        settings: the checked settings of the experiment, as config.yaml keeps them.
        seeds: the seeds to run, each once.
        seeds_per_process: how many of them one training process trains.
        num_env_runners: processes that only play, for each seed.
        training_cpus: CPUs of the training process; 0 for A3C where its workers compute.
        dtype: what the torso computes in: one dtype per run, so that the policy that acts is the one that learns.
    """

    settings: dict[str, Any]
    seeds: tuple[int, ...]
    seeds_per_process: int
    num_env_runners: int
    training_cpus: int
    dtype: str

    @cached_property
    def bundles(self) -> list[Bundle]:
        """Return what each process takes: the training process, then each seed's env runners and learners."""
        cluster = self.settings["cluster"]
        num_learners, gpus = cluster["num_learners"], cluster["gpus_per_learner"]
        training = {"CPU": self.training_cpus, "GPU": 0 if num_learners else gpus}
        if self.training_cpus == 0:  # something it must take: Ray Tune drops an empty bundle, and RLlib counts on it
            training["memory"] = 1  # bytes
        env_runner = {"CPU": cluster["cpus_per_runner"], "GPU": cluster["gpus_per_runner"]}
        learner = {"CPU": 0 if gpus else 1, "GPU": gpus}  # on a GPU RLlib gives a learner no CPU
        others = [env_runner] * self.num_env_runners + [learner] * num_learners
        bundles = [training, *others * self.seeds_per_process]
        return [{kind: float(amount) for kind, amount in bundle.items() if amount} for bundle in bundles]

    @cached_property
    def evaluator(self) -> Bundle | None:
        """Return what the process of `evaluate_every` takes, one for all seeds; None where the run has no such process.

        It takes a CPU that the seeds leave free, never one of theirs: on this machine it may take none, and then plays
        at the lowest priority beside them. A cluster is asked for one more.
        """
        if not self.settings.get("evaluate_every") or self.settings["command"] == "search":
            return None
        there = count_cpus()
        at_once = min(len(self.seeds), max(1, int(there / self.cpus))) if self.cpus else 1
        is_free = self.settings["cluster"]["address"] != "local" or at_once * self.cpus + 1 <= there
        return {"CPU": 1.0} if is_free else {}

    @property
    def trial_settings(self) -> dict[str, Any]:
        """Return the settings of a trial, with the dtype that was chosen. Ray Tune writes them to files of its own, so
        passwords among the arguments of callbacks are masked."""
        model = self.settings["model"] | {"dtype": self.dtype}
        return self.settings | {"model": model, "callbacks": mask_passwords(self.settings["callbacks"])}

    @property
    def all_bundles(self) -> list[Bundle]:
        """Return what each process of one seed takes, and then what the process of `evaluate_every` takes."""
        return self.bundles if self.evaluator is None else [*self.bundles, self.evaluator]

    @property
    def cpus(self) -> float:
        """Return the CPUs of all processes together."""
        return round(sum(bundle.get("CPU", 0.0) for bundle in self.bundles), DIGITS)

    @property
    def gpus(self) -> float:
        """Return the GPUs of all processes together."""
        return round(sum(bundle.get("GPU", 0.0) for bundle in self.bundles), DIGITS)


def make_plan(settings: dict[str, Any], seeds_per_process: int | None = None) -> Plan:
    """Return the plan of an experiment on this machine.

    Args:
        settings: checked by `experiments.check.check_settings`, or read from the config.yaml of a run.
        seeds_per_process: seeds that one training process trains; None: `search.seeds_per_trial` of a search, else 1.

    Raises:
        Mistake: `seed` is no list of different seeds.
    """
    if seeds_per_process is None:
        of_search = settings["command"] == "search"
        seeds_per_process = int(settings["search"]["seeds_per_trial"]) if of_search else 1
    return Plan(
        settings=settings,
        seeds=tuple(list_seeds(settings)),
        seeds_per_process=seeds_per_process,
        num_env_runners=count_env_runners(settings),
        training_cpus=count_training_cpus(settings),
        dtype=choose_dtype(settings),
    )


def list_seeds(settings: dict[str, Any]) -> list[int]:
    """Return the seeds of an experiment.

    Raises:
        Mistake: there is none, or one of them twice, or one is out of range.
    """
    seed = settings["seed"]
    if isinstance(seed, str) and re.fullmatch(r"\d+ *(-|\.\.|:) *\d+", seed):
        raise Mistake(f"seed={seed}: several seeds are seed=1,2,3 or seed=range(1,4), which are the same")
    seeds = [SEED.check("seed", s) for s in (seed if isinstance(seed, list) else [seed])]
    if not seeds or len(set(seeds)) < len(seeds):
        raise Mistake(f"seed={seed}: give at least one seed, and each only once")
    return seeds


def count_env_runners(settings: dict[str, Any]) -> int:
    """Return the number of env runners; where the settings leave it open, one per worker of A3C as far as CPUs go."""
    cluster = settings["cluster"]
    if cluster["num_env_runners"] is not None:
        return cluster["num_env_runners"]
    left = count_cpus() - (cluster["cpus"] or 0) - _count_learner_cpus(cluster)
    return min(settings["algo"].get("num_workers", 0), max(0, int(round(left / cluster["cpus_per_runner"], DIGITS))))


def count_training_cpus(settings: dict[str, Any]) -> int:
    """Return the CPUs of the training process; where the settings leave it open, those that the others leave."""
    cluster, runners = settings["cluster"], count_env_runners(settings)
    if cluster["cpus"] is not None:
        return cluster["cpus"]
    if runners and find_base(settings["algo"]) == "a3c":
        return 0
    if settings["model"]["torso"] == "mlp":  # without convolutions one thread is the fastest
        return 1
    others = math.ceil(round(runners * cluster["cpus_per_runner"], DIGITS)) + _count_learner_cpus(cluster)
    return max(1, min(count_cpus() - others, MAX_CPUS))


def _count_learner_cpus(cluster: dict[str, Any]) -> int:
    """Return the CPUs of all remote learners: one each, or none for learners on GPUs."""
    return 0 if cluster["gpus_per_learner"] else cluster["num_learners"]


def choose_dtype(settings: dict[str, Any]) -> str:
    """Return the dtype of the torso.

    `model.dtype=auto` is bfloat16 where actions are computed on GPUs: by env runners, or by a training process that
    plays and learns. Where CPUs act, it is what this machine's CPU is fastest in, wherever the learner is: a CPU
    without bfloat16 arithmetic takes many times as long in it.
    """
    if settings["model"]["dtype"] != "auto":
        return settings["model"]["dtype"]
    cluster = settings["cluster"]
    if count_env_runners(settings):
        on_gpus = cluster["gpus_per_runner"]
    else:
        on_gpus = cluster["gpus_per_learner"] and not cluster["num_learners"]
        on_gpus = on_gpus and find_base(settings["algo"]) not in ("a3c", "dqn")  # these act on the CPU
    return "bfloat16" if on_gpus else find_fastest_dtype()


def list_other_dtypes(plan: Plan, starts: list[dict[str, Any]]) -> str:
    """Return the dtypes that earlier starts had and this one has not, joined by `and`, where `auto` chose it.

    Args:
        plan: of this start.
        starts: the entries of run.json.
    """
    dtypes = {(start.get("hardware") or {}).get("dtype", plan.dtype) for start in starts} - {plan.dtype}
    return " and ".join(sorted(dtypes)) if plan.settings["model"]["dtype"] == "auto" else ""


def describe_update(plan: Plan) -> str:
    """Return the size of one update: `8 envs x 128 steps = 1024 per update`."""
    algo = plan.settings["algo"]
    envs = format_count(algo["num_envs"], "env")
    if "episodes_per_update" in algo:
        return f"{envs}, {format_count(algo['episodes_per_update'], 'complete episode')} per update"
    if "train_every" in algo:
        return f"{envs}, one update every {algo['train_every']} agent steps"
    if algo.get("num_workers"):
        share = algo["num_envs"] // algo["num_workers"]
        processes = max(1, plan.num_env_runners)
        return (
            f"{format_count(algo['num_workers'], 'worker')} in {processes} process{'es' * (processes > 1)}, each "
            f"{format_count(share, 'env')} x {algo['horizon']} steps = {share * algo['horizon']} per gradient"
        )
    return f"{envs} x {algo['horizon']} steps = {algo['num_envs'] * algo['horizon']} per update"


def explain_overshoot(plan: Plan, agent_steps: int) -> str | None:
    """Return why a seed played more agent steps than it was asked to; None where they are less than a percent more."""
    asked = plan.settings["stop"]["agent_steps"]
    if agent_steps <= 1.01 * asked:
        return None
    return (
        f"played {agent_steps:,} agent steps where {asked:,} were asked for: updates are whole, {describe_update(plan)}"
        ", less those that only begin a new game"
    )


def count_trainings(search: dict) -> tuple[int, int, int]:
    """Return how many trainings a search has at most: of its trials, of contenders on more seeds, on fresh seeds."""
    trials = search["trials"] * search["seeds_per_trial"]
    if search["scheduler"] == "pbt":
        return trials, 0, 0
    contenders = min(search["contenders"], search["trials"])
    finalists = min(search["finalists"], contenders)
    return trials, contenders * search["contender_seeds"], (finalists + 1) * search["fresh_seeds"]
