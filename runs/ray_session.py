"""Ray for the duration of a run, and the signal handlers that a run has meanwhile.

configure -> block signals in Ray's processes -> connect -> handlers of this process -> the run -> restore them
"""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from cluster.connection import connect_to_ray, prepare_environment
from cluster.local_ray import LOCAL, stop_ray
from cluster.plan import Plan
from run_directory.writing import RESERVE_MB
from runs.interrupt import STOP_SIGNALS, Interrupt, block_signals_in_children, select_unignored_signals
from settings.mistakes import Mistake


@contextmanager
def open_ray(plan: Plan, saves: bool = True) -> Iterator[None]:
    """Connect to Ray for as long as a run takes; meanwhile signals ask the run to stop, or for a checkpoint.

    Args:
        plan: of the run.
        saves: whether there will be checkpoints; without, a signal that asks to stop ends the process at once.

    Raises:
        Mistake: `cluster.address` cannot be reached, the run cannot work there, or its disk has no room.
    """
    if signal.getsignal(signal.SIGTERM) == Interrupt.request_stop:  # inside of another one
        yield
        return
    Interrupt.clear()
    settings = plan.settings
    output = Path(settings["output_dir"]).expanduser().resolve()
    if saves and output.exists() and (left := shutil.disk_usage(output).free >> 20) < RESERVE_MB:
        raise Mistake(
            f"{output} has {left} MB left, and a run stops below {RESERVE_MB}; free some, then the same again"
        )
    prepare_environment(settings)
    started = not ray.is_initialized()
    usr1 = Interrupt.request_stop if settings["on_usr1"] == "stop" else Interrupt.request_checkpoint
    handlers: dict[signal.Signals, Any] = dict.fromkeys(
        select_unignored_signals(*STOP_SIGNALS), Interrupt.request_stop
    ) | {signal.SIGUSR1: usr1}
    before = {number: signal.getsignal(number) for number in handlers}
    Interrupt.saves = saves
    Interrupt.owns_ray = started and settings["cluster"]["address"] == LOCAL
    if started:
        with block_signals_in_children():
            connect_to_ray(plan)
    # After ray.init, whose own handler for SIGTERM would take their place.
    for number, handler in handlers.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        if started:
            stop_ray()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
