"""Blocks: where each pixel of a picture lies."""

import numpy as np
import pytest

from environments.frames import FrameLayout, layout_of, to_blocks


@pytest.mark.parametrize("dim", [84, 42, 36, 50])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_lies_where_its_block_is(dim, channels):
    layout = FrameLayout(dim, channels, stack=4)
    shape = (2, 1, dim, dim, 3) if channels == 3 else (2, 1, dim, dim)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    blocks = np.zeros((2, *layout.frame_shape), np.uint8)
    to_blocks(blocks, frames, layout)

    pixels, b = frames.reshape(2, dim, dim, channels), 4 if dim % 4 == 0 else 1
    for y in range(dim):
        for x in range(dim):
            place = (y % b * b + x % b) * channels
            assert (blocks[:, y // b, x // b, place : place + channels] == pixels[:, y, x]).all(), (y, x)


def test_a_layout_gives_the_shapes_of_one_picture_and_of_a_stack():
    assert FrameLayout(84, 1, 4)[:3] == (84, 1, 4)
    assert FrameLayout(84, 1, 4).frame_shape == (21, 21, 16)
    assert FrameLayout(84, 1, 4).stack_shape == (21, 21, 64)
    assert FrameLayout(84, 3, 2).stack_shape == (21, 21, 96)
    assert FrameLayout(42, 3, 4).stack_shape == (42, 42, 12)  # 42 pixels cannot be cut into 4x4 blocks


def test_settings_without_a_game_have_no_pixels(compose):
    assert layout_of(compose(["env=cartpole"])["env"]) is None
    assert layout_of(compose(["env.grayscale=false", "env.dim=42"])["env"]) == FrameLayout(42, 3, 4)


@pytest.mark.parametrize(("dim", "channels"), [(84, 1), (84, 3), (42, 1)])
def test_a_frame_in_blocks_can_be_looked_at_again(dim, channels):
    layout = FrameLayout(dim, channels, 4)
    shape = (2, 1, dim, dim) + ((3,) if channels == 3 else ())
    frames = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
    into = np.empty((2, *layout.frame_shape), np.uint8)
    to_blocks(into, frames, layout)
    np.testing.assert_array_equal(layout.to_pixels(into[1]), frames[1, 0])
