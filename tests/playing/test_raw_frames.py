"""Frames of an emulator become the pictures that ALE's vector env makes of them."""

import numpy as np
import pytest
from ale_py import ALEInterface, LoggerMode, roms
from ale_py.vector_env import AtariVectorEnv

from environments.frames import FrameLayout
from playing.raw_frames import average_areas, reduce_frames


def play_both(game: str, layout: FrameLayout, steps: int):
    """Play random actions in ALE's vector env and in an emulator of our own; yield the pictures of both."""
    frameskip, seed = 4, 5
    env = AtariVectorEnv(
        game,
        num_envs=1,
        noop_max=0,
        use_fire_reset=False,
        stack_num=1,
        frameskip=frameskip,
        img_height=layout.dim,
        img_width=layout.dim,
        grayscale=layout.channels == 1,
    )
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale, generator = ALEInterface(), np.random.default_rng(0)
    ale.setInt("random_seed", seed)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(roms.get_rom_path(game))
    ale.reset_game()
    env.reset(seed=seed)
    buttons = ale.getMinimalActionSet()
    for _ in range(steps):
        action, frames = int(generator.integers(len(buttons))), []
        picture = env.step(np.array([action]))[0][:, 0]
        for _ in range(frameskip):
            ale.act(buttons[action])
            frames.append(ale.getScreenRGB())
        if ale.game_over():
            break
        yield picture, reduce_frames(np.stack(frames[-2:])[None], layout)[:, 0]
    env.close()


@pytest.mark.parametrize("game", ["assault", "ms_pacman", "journey_escape"])  # the last has 230 rows
@pytest.mark.parametrize("layout", [FrameLayout(84, 1, 4), FrameLayout(84, 3, 4), FrameLayout(42, 1, 4)], ids=str)
def test_pictures_are_those_of_the_vector_env(game, layout):
    steps = 0
    for wanted, ours in play_both(game, layout, steps=60):
        assert ours.dtype == np.uint8 and np.array_equal(ours, wanted)
        steps += 1
    assert steps > 40 and np.ptp(wanted) > 50


@pytest.mark.parametrize(("size", "dim"), [(210, 84), (160, 84), (160, 160), (250, 42)])
def test_every_pixel_counts_as_much_as_every_other(size, dim):
    averages = average_areas(np.eye(size, dtype=np.float32), 0, dim)  # [dim, size]
    np.testing.assert_allclose(averages.sum(1), 1, rtol=1e-3)
    np.testing.assert_allclose(averages.sum(0), dim / size, rtol=2e-3)


def test_pictures_larger_than_frames_are_refused():
    with pytest.raises(ValueError, match="200"):
        reduce_frames(np.zeros((1, 2, 210, 160, 3), np.uint8), FrameLayout(200, 1, 4))
