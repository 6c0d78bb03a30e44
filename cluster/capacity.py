"""Whether a run fits on this machine, and whether a run on a cluster says what it needs; nothing is started for it."""

import math
from pathlib import Path

from cluster.placement import Node, place_bundles
from cluster.plan import Plan
from environments.frames import layout_of
from environments.machine import count_cpus, count_gpus, get_memory_bytes
from settings.mistakes import Mistake, format_count

STEP_BYTES = 28  # of an agent step in a rollout, without what the agent sees: rollouts.rollout.list_columns


def refuse_too_large_for_machine(plan: Plan) -> None:
    """Refuse a run on this machine that asks for more CPUs, memory or GPUs than there are.

    Of a run on a cluster, it refuses only what can be said before the cluster is asked; `cluster/checks.py` asks it.

    Args:
        plan: of one seed; several seeds wait for each other where there is no room for all.

    Raises:
        Mistake: the run cannot work there.
    """
    settings, cluster = plan.settings, plan.settings["cluster"]
    if cluster["address"] != "local":
        refuse_open_settings(settings)
        return
    cpus, gpus = count_cpus(), count_gpus() if plan.gpus else 0
    if plan.cpus > cpus:
        keys = ("cpus", "num_env_runners", "cpus_per_runner", "num_learners")
        asked = ", ".join(f"cluster.{key}={cluster[key]:g}" for key in keys if cluster[key])
        raise Mistake(f"{asked} ask for {format_count(plan.cpus, 'CPU')}, and this machine has {cpus}; ask for fewer")
    refuse_too_much_memory(settings["algo"], settings["env"], settings["stop"]["agent_steps"])
    if place_bundles(plan.bundles, [Node("", "this machine", {"CPU": cpus, "GPU": gpus})]) is None:
        keys = ("gpus_per_learner", "num_learners", "gpus_per_runner", "num_env_runners")
        asked = ", ".join(f"cluster.{key}={cluster[key]:g}" for key in keys if cluster[key])
        raise Mistake(
            f"{asked}: the run would take {format_count(plan.gpus, 'GPU')}, each process its part of one, "
            f"and torch sees {gpus} in this machine; ask for fewer, or install a CUDA build of torch"
        )


def refuse_too_much_memory(algo: dict, env: dict, budget: int) -> None:
    """Refuse a rollout or a replay buffer larger than this process's memory: the kernel would end it unsaid."""
    layout, steps, keys = layout_of(env), algo["num_envs"] * algo.get("horizon", 1), ["num_envs", "horizon"]
    frame = math.prod(layout.picture_shape) if layout else 0
    if "buffer_size" in algo:  # of stacks; it grows with what is played
        steps, keys, frame = min(algo["buffer_size"], budget), ["buffer_size"], frame * (layout.stack if layout else 1)
    wanted, there = steps * (frame + STEP_BYTES) / 2**30, get_memory_bytes() / 2**30
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
