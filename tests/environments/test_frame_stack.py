"""The frame stack: the newest frame last, nothing of an earlier game, and observations without pixels as they are."""

import numpy as np

from environments.frame_stack import FrameStack
from environments.frames import FrameLayout

LAYOUT = FrameLayout(dim=8, channels=1, stack=3)  # frames of [2, 2, 16]
NO_RESET = np.zeros(2, bool)


def frames(*values: int) -> np.ndarray:
    """One frame per game, each of one gray."""
    return np.stack([np.full(LAYOUT.frame_shape, value, np.uint8) for value in values])


def grays(observations: np.ndarray) -> list[list[int]]:
    """The gray of every frame in a stack, the oldest first, game by game."""
    blocks = observations.reshape(len(observations), 2, 2, LAYOUT.stack, 16)
    return blocks[:, 0, 0, :, 0].tolist()


def test_the_newest_frame_is_the_last_and_places_before_the_first_are_black():
    stack = FrameStack(LAYOUT, frames(1, 2))
    assert grays(stack.get_observations()) == [[0, 0, 1], [0, 0, 2]]
    for pushed in (3, 4), (5, 6), (7, 8):
        stack.push(frames(*pushed), NO_RESET)
    assert grays(stack.get_observations()) == [[3, 5, 7], [4, 6, 8]]


def test_a_new_game_forgets_the_frames_of_the_old_one_and_the_other_game_keeps_its_own():
    stack = FrameStack(LAYOUT, frames(1, 2))
    stack.push(frames(3, 4), NO_RESET)
    stack.push(frames(5, 6), np.array([True, False]))
    assert grays(stack.get_observations()) == [[0, 0, 5], [2, 4, 6]]


def test_the_observation_after_another_frame_leaves_the_stack_as_it_is():
    stack = FrameStack(LAYOUT, frames(1, 2))
    stack.push(frames(3, 4), NO_RESET)
    after = stack.preview_observations(frames(5, 6), np.array([False, True]))
    assert grays(after) == [[2, 4, 6]]
    assert grays(stack.get_observations()) == [[0, 1, 3], [0, 2, 4]]


def test_observations_without_pixels_are_not_stacked():
    stack = FrameStack(None, np.array([[1.0], [2.0]]))
    stack.push(np.array([[3.0], [4.0]]), np.array([True, False]))
    assert stack.get_observations().tolist() == [[3.0], [4.0]]
    assert stack.preview_observations(np.array([[5.0], [6.0]]), np.array([False, True])).tolist() == [[6.0]]
