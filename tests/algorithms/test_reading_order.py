"""One update is read from top to bottom: how often somebody who follows it, call by call, has to open another file."""

import sys
from itertools import pairwise
from pathlib import Path

from algorithms.learner import PROGRESS
from rollouts.rollout import RolloutData

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("algorithms", "rollouts", "custom_models", "environments")
MINIBATCHES = 3
MAX_CHANGES = 40


def count_file_changes(function) -> tuple[int, list[str]]:
    """Call a function and count the changes of file in it.

    A change is a call of one of the project's functions whose file is another than that of the project's function that
    was called before. A generator that goes on counts as called; returning, comprehensions (which newer Pythons do not
    call) and functions of other packages do not.

    Returns:
        The number of changes, and `file:function` of every call that counts.
    """
    calls: list[tuple[str, str]] = []

    def remember(frame, event: str, argument) -> None:
        path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        comprehension = name.startswith("<") and name != "<lambda>"
        if event == "call" and not comprehension and path.is_relative_to(ROOT):
            inside = path.relative_to(ROOT)
            if inside.parts[0] in ROOMS:
                calls.append((str(inside), name))

    sys.setprofile(remember)
    try:
        function()
    finally:
        sys.setprofile(None)
    return sum(before[0] != after[0] for before, after in pairwise(calls)), [":".join(call) for call in calls]


def test_an_update_of_ppo_changes_file_at_most_40_times(make_learner, make_runner):
    """CartPole, one epoch of three minibatches. It was 81 when the base class called back through five hooks."""
    words = ("algo=ppo", "env=cartpole", "algo.num_envs=6", "algo.horizon=32", "algo.num_epochs=1")
    words += (f"algo.minibatch_size={6 * 32 // MINIBATCHES}",)
    learner, data = make_learner(*words), RolloutData([make_runner(*words).sample()])

    def update() -> None:
        learner.update(training_data=data, timesteps={PROGRESS: 0.0})

    update()  # what is imported or made once is not an update's
    changes, calls = count_file_changes(update)
    assert calls[0] == "algorithms/ppo.py:update" and calls[-1].startswith("algorithms/learner.py")
    assert calls.count("algorithms/ppo.py:ppo_loss") == MINIBATCHES
    assert changes <= MAX_CHANGES, f"{changes} changes: {calls}"
    print(f"{changes} changes of file in {len(calls)} calls")


def test_a_change_is_a_call_into_another_file(make_rollout):
    rollout = make_rollout()
    changes, calls = count_file_changes(lambda: RolloutData([rollout]).fetch())
    assert changes == 0 and calls[-1] == "rollouts/rollout.py:solve_refs"
