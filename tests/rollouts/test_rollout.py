"""The Rollout: a table that is declared once, and stacks that are put together from single pictures."""

import pickle

import numpy as np
import pytest
import ray
import torch
from gymnasium.spaces import Box, Discrete

from environments.frames import FrameLayout
from rollouts import rollout as rollout_module
from rollouts.rollout import Rollout, RolloutData, list_columns, stack_frames, summarize

PIXELS, NUMBERS = Box(0, 255, (21, 21, 64), np.uint8), Box(-1, 1, (3,), np.float32)


def rollout_of(table: dict, **filled) -> Rollout:
    arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in table.items()}
    for name, value in filled.items():
        arrays[name][:] = value
    return Rollout(arrays, [50.0], [7], weights_seq_no=3)


def test_a_table_of_pictures_holds_each_once():
    table = list_columns(128, 8, PIXELS, Discrete(7), FrameLayout(84, 1, 4), policy_size=0)
    assert table["frames"] == ((132, 8, 21, 21, 16), np.uint8)
    assert table["actions"] == ((128, 8), np.int64)
    assert table["values"] == ((129, 8), np.float32)
    for name in ("logp", "rewards", "final_values"):
        assert table[name] == ((128, 8), np.float32)
    for name in ("terminated", "truncated", "game_reset", "valid"):
        assert table[name] == ((128, 8), np.bool_)
    assert "obs" not in table and "policy" not in table


def test_a_table_of_numbers_holds_one_observation_more_than_actions():
    table = list_columns(5, 2, NUMBERS, Box(-1, 1, (4,), np.float32), None, policy_size=8)
    assert table["obs"] == ((6, 2, 3), np.float32)
    assert table["actions"] == ((5, 2, 4), np.float32)
    assert table["policy"] == ((5, 2, 8), np.float32)
    assert "frames" not in table
    assert list_columns(5, 2, Box(0, 1, (), np.float64), Discrete(2), None, 0)["obs"] == ((6, 2), np.float64)


def test_an_agent_step_of_assault_is_a_picture_and_at_most_64_bytes():
    rollout = rollout_of(list_columns(128, 8, PIXELS, Discrete(7), FrameLayout(84, 1, 4), 0), valid=True)
    limit = 7056 * (128 + 4) / 128 + 64
    assert rollout.num_bytes / rollout.agent_steps <= limit
    assert rollout.num_bytes == sum(a.nbytes for a in rollout.arrays.values())
    assert len(pickle.dumps(rollout)) / rollout.agent_steps <= limit  # what really travels


@pytest.fixture
def rollout():
    return rollout_of(list_columns(4, 2, NUMBERS, Discrete(2), None, 0), valid=True, rewards=2, obs=1)


def test_a_rollout_is_read_only(rollout):
    for name in rollout.arrays:
        with pytest.raises(ValueError, match="read-only"):
            rollout[name][0] = 0
    with pytest.raises(TypeError):
        rollout.arrays["rewards"] = 1
    with pytest.raises(TypeError):
        rollout["rewards"] = 1


def test_a_rollout_that_travelled_is_the_same(rollout):
    there = pickle.loads(pickle.dumps(rollout))
    assert (there.scores, there.lengths, there.weights_seq_no) == ((50.0,), (7,), 3)
    assert there.arrays.keys() == rollout.arrays.keys()
    for name, array in rollout.arrays.items():
        np.testing.assert_array_equal(there[name], array)
        assert there[name].dtype == array.dtype


def test_a_rollout_that_travelled_is_still_read_only(rollout):
    there = pickle.loads(pickle.dumps(rollout))
    assert not any(array.flags.writeable for array in there.arrays.values())


def test_rollouts_are_fetched_in_one_go_and_keep_their_order(shared_ray, monkeypatch):
    table, asked, get = list_columns(2, 1, NUMBERS, Discrete(2), None, policy_size=0), [], ray.get
    local, *far = (rollout_of(table, rewards=i) for i in range(3))
    data = RolloutData([ray.put(far[1]), local, ray.put(far[0])])
    monkeypatch.setattr(ray, "get", lambda refs: asked.append(len(refs)) or get(refs))
    data.solve_refs()
    assert asked == [2] and [rollout["rewards"][0, 0] for rollout in data.rollouts] == [2, 0, 1]


def test_rows_that_only_restart_a_game_are_not_agent_steps(rollout):
    assert rollout.agent_steps == 8
    valid = np.ones((4, 2), bool)
    valid[2, 1] = valid[3, 0] = False
    assert rollout_of(list_columns(4, 2, NUMBERS, Discrete(2), None, 0), valid=valid).agent_steps == 6


def test_a_rollout_knows_its_columns(rollout):
    assert "obs" in rollout and "frames" not in rollout


def slow_stacks(frames: np.ndarray, game_reset: np.ndarray, stack: int) -> np.ndarray:
    """Observation t shows the places t .. t + stack - 1, zero where they lie before the first picture of its game."""
    steps, envs = game_reset.shape
    result = np.zeros((steps, envs, *frames.shape[2:4], stack, frames.shape[4]), np.uint8)
    for t in range(steps):
        for n in range(envs):
            first = max([r + stack for r in range(t) if game_reset[r, n]], default=0)
            for age in range(stack):
                if t + age >= first:
                    result[t, n, :, :, age] = frames[t + age, n]
    return result.reshape(*result.shape[:4], -1)


@pytest.mark.parametrize("stack", [1, 2, 4])
@pytest.mark.parametrize("steps", [2, 12])
def test_a_stack_reaches_back_to_the_first_picture_of_its_game_and_no_further(steps, stack):
    rng = np.random.default_rng(steps + stack)
    frames = rng.integers(1, 256, (steps + stack, 6, 2, 2, 3), np.uint8)
    game_reset = rng.random((steps, 6)) < 0.25
    game_reset[:, 0], game_reset[:, 1] = True, False  # every game one step long; no new game at all
    game_reset[0, 2] = game_reset[-1, 3] = True
    stacks = stack_frames(torch.from_numpy(frames), torch.from_numpy(game_reset), stack)
    np.testing.assert_array_equal(stacks.numpy(), slow_stacks(frames, game_reset, stack))


def test_a_summary_carries_what_its_process_complains_of(monkeypatch):
    table = list_columns(2, 3, NUMBERS, Discrete(7), None, policy_size=0)
    assert "complaints" not in summarize(rollout_of(table))
    monkeypatch.setattr(rollout_module, "COMPLAINTS", ["acting runs without a CUDA graph"])
    assert summarize(rollout_of(table))["complaints"] == ["acting runs without a CUDA graph"]
