"""Whether a run fits on this machine, and whether a run on a cluster says what it needs; nothing is started for it."""

from pathlib import Path

from cluster.placement import Node, placed
from cluster.resources import cpus_of_learners, gpus_of_run, num_env_runners
from environments.frames import layout_of
from environments.machine import memory_bytes, num_cpus, num_gpus
from settings.mistakes import Mistake, counted

STEP_BYTES = 28  # of an agent step in a rollout, without what the agent sees: rollouts.rollout.columns


def refuse_too_large_for_machine(settings: dict) -> None:
    """Refuse a run on this machine that asks for more CPUs, memory or GPUs than there are.

    Of a run on a cluster, only what can be said before the cluster is asked; `cluster/checks.py` asks it.

    Raises:
        Mistake: the run cannot work there.
    """
    if settings["cluster"]["address"] != "local":
        refuse_open_settings(settings)
        return
    cluster, runners = settings["cluster"], num_env_runners(settings)
    cpus, gpus = num_cpus(), num_gpus() if gpus_of_run(settings) else 0
    # A3C's workers compute; the process that collects their gradients takes a CPU of its own only where told to.
    centre = cluster["cpus"] or (0 if runners and settings["algo"]["name"] == "a3c" else 1)
    wanted = centre + runners * cluster["cpus_per_runner"] + cpus_of_learners(settings)
    if wanted > cpus:
        keys = ("cpus", "num_env_runners", "cpus_per_runner", "num_learners")
        asked = ", ".join(f"cluster.{key}={cluster[key]:g}" for key in keys if cluster[key])
        raise Mistake(f"{asked} ask for {counted(wanted, 'CPU')}, and this machine has {cpus}; ask for fewer")
    refuse_too_much_memory(settings["algo"], settings["env"], settings["stop"]["agent_steps"])
    learners, each = max(1, cluster["num_learners"]), {"GPU": cluster["gpus_per_learner"]}
    asked = [each] * learners + [{"GPU": cluster["gpus_per_runner"]}] * runners
    if placed(asked, [Node("", "this machine", {"CPU": cpus, "GPU": gpus})]) is None:
        keys = ("gpus_per_learner", "num_learners", "gpus_per_runner", "num_env_runners")
        asked = ", ".join(f"cluster.{key}={cluster[key]:g}" for key in keys if cluster[key])
        raise Mistake(
            f"{asked}: the run would take {counted(gpus_of_run(settings), 'GPU')}, each process its part of one, "
            f"and torch sees {gpus} in this machine; ask for fewer, or install a CUDA build of torch"
        )


def refuse_too_much_memory(algo: dict, env: dict, budget: int) -> None:
    """Refuse a rollout or a replay buffer larger than this process's memory; the kernel would end it without a word."""
    layout, steps, keys = layout_of(env), algo["num_envs"] * algo.get("horizon", 1), ["num_envs", "horizon"]
    frame = layout.dim**2 * layout.channels if layout else 0
    if "buffer_size" in algo:  # of stacks; it grows with what is played
        steps, keys, frame = min(algo["buffer_size"], budget), ["buffer_size"], frame * (layout.stack if layout else 1)
    wanted, there = steps * (frame + STEP_BYTES) / 2**30, memory_bytes() / 2**30
    if wanted > there:
        asked = ", ".join(f"algo.{key}={algo[key]}" for key in keys if key in algo)
        raise Mistake(
            f"{asked}: so many agent steps take at least {wanted:,.1f} GiB, and this machine has {there:,.1f} GiB of "
            "memory for this process; ask for fewer"
        )


def refuse_open_settings(settings: dict) -> None:
    """Refuse settings that a run on a cluster must not leave open: its CPUs, env runners and an absolute path."""
    cluster = settings["cluster"]
    for key in ("cpus", "num_env_runners"):
        if cluster[key] is None:
            raise Mistake(f"cluster.{key} is not set: on a cluster, cluster.address={cluster['address']}, say how many")
    if not Path(settings["output_dir"]).is_absolute():
        raise Mistake(
            f"output_dir={settings['output_dir']}: nodes of a cluster do not share a working directory; give an "
            "absolute path that all of them have"
        )
