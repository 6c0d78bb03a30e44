"""What the processes of an experiment take of a machine, counted from its settings alone: nothing here needs RLlib."""

from environments.machine import fastest_dtype, num_cpus
from settings.mistakes import Mistake, counted
from settings.runs import SEED

MAX_CPUS = 8  # of a training process that takes what there is: more threads do not make these networks faster


def seeds_of(settings: dict) -> list[int]:
    """The seeds to run, each once."""
    seed = settings["seed"]
    seeds = [SEED.check("seed", s) for s in (seed if isinstance(seed, list) else [seed])]
    if not seeds or len(set(seeds)) < len(seeds):
        raise Mistake(f"seed={seed}: give at least one seed, and each only once")
    return seeds


def num_env_runners(settings: dict) -> int:
    """Processes that play. Where the cluster leaves it open, A3C has one per worker as far as cores go, others none."""
    cluster = settings["cluster"]
    if cluster["num_env_runners"] is not None:
        return cluster["num_env_runners"]
    left = num_cpus() - (cluster["cpus"] or 0) - cpus_of_learners(settings)
    return min(settings["algo"].get("num_workers", 0), max(0, int(left / cluster["cpus_per_runner"])))


def cpus_of_run(settings: dict, seeds: int = 1) -> float:
    """CPUs of all processes of a run together; of a trial that plays several seeds in one training process."""
    cluster = settings["cluster"]
    others = num_env_runners(settings) * cluster["cpus_per_runner"] + cpus_of_learners(settings)
    return cpus_of(settings) + seeds * others


def cpus_of_learners(settings: dict) -> int:
    """CPUs of learners in processes of their own; on a GPU RLlib gives them none."""
    cluster = settings["cluster"]
    return 0 if cluster["gpus_per_learner"] else cluster["num_learners"]


def gpus_of_run(settings: dict, seeds: int = 1) -> float:
    """GPUs of all processes of a run together, or of a trial, see `cpus_of_run`."""
    cluster = settings["cluster"]
    each, learners = cluster["gpus_per_learner"], cluster["num_learners"]
    others = num_env_runners(settings) * cluster["gpus_per_runner"] + learners * each
    return (0 if learners else each) + seeds * others


def cpus_of(settings: dict) -> int:
    """CPUs of the training process; a network without convolutions is faster on one."""
    cluster, runners = settings["cluster"], num_env_runners(settings)
    if cluster["cpus"] is not None:
        return cluster["cpus"]
    if settings["algo"]["name"] == "a3c" and runners:
        return 0
    if settings["model"]["torso"] == "mlp":
        return 1
    others = int(runners * cluster["cpus_per_runner"]) + cpus_of_learners(settings)
    return max(1, min(num_cpus() - others, MAX_CPUS))


def dtype_of(settings: dict) -> str:
    """What the torso computes in: one dtype per run, so that the policy that acts is the one that learns.

    `auto` is bfloat16 where env runners act on GPUs; where CPUs act, what is fastest on this machine's,
    wherever the learner is: a CPU without bfloat16 takes many times as long in it.
    """
    chosen, on_gpus = settings["model"]["dtype"], num_env_runners(settings) and settings["cluster"]["gpus_per_runner"]
    return chosen if chosen != "auto" else "bfloat16" if on_gpus else fastest_dtype()


def in_words(settings: dict) -> str:
    """What one update is made of: `8 envs x 128 steps = 1024 per update`."""
    algo, envs = settings["algo"], counted(settings["algo"]["num_envs"], "env")
    if "episodes_per_update" in algo:
        return f"{envs}, {counted(algo['episodes_per_update'], 'complete episode')} per update"
    if "train_every" in algo:
        return f"{envs}, one update every {algo['train_every']} agent steps"
    if algo.get("num_workers"):
        share = algo["num_envs"] // algo["num_workers"]
        processes = max(1, num_env_runners(settings))
        return (
            f"{counted(algo['num_workers'], 'worker')} in {processes} process{'es' * (processes > 1)}, each "
            f"{counted(share, 'env')} x {algo['horizon']} steps = {share * algo['horizon']} per gradient"
        )
    return f"{envs} x {algo['horizon']} steps = {algo['num_envs'] * algo['horizon']} per update"
