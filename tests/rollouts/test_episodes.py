"""Complete episodes: each env plays exactly its share, from the first step to the last, and idles until all have."""

import numpy as np
import pytest

from rollouts import episodes

CARTPOLE = ("algo=pg", "env=cartpole", "model.hidden=[8]", "algo.num_envs=4", "algo.episodes_per_update=12")
ASSAULT = ("algo=pg", "env=assault", "model.hidden=16", "algo.num_envs=2", "algo.episodes_per_update=2")
SHORT_GAMES = ("env.max_episode_frames=800", "model.dtype=float32")


def finished(rollout) -> np.ndarray:
    """bool [T, N]: a game's last step that counts."""
    return (rollout["terminated"] | rollout["truncated"]) & rollout["valid"]


def test_every_env_plays_exactly_its_share_of_games(make_runner):
    runner = make_runner(*CARTPOLE)
    for _ in range(3):
        rollout = runner.sample()
        assert finished(rollout).sum(0).tolist() == [3, 3, 3, 3]
        assert len(rollout.scores) == 12
        assert rollout.agent_steps == sum(rollout.lengths) == sum(rollout.scores)  # CartPole pays 1 per step


def test_what_counts_is_a_prefix_that_ends_with_a_game(make_runner):
    rollout = make_runner(*CARTPOLE).sample()
    for n in range(4):
        last = np.flatnonzero(rollout["valid"][:, n])[-1]
        assert finished(rollout)[last, n]
        # Between two games CartPole's vector ignores one action; nothing else is left out before the end.
        assert (~rollout["valid"][:last, n]).sum() == 2
    assert rollout["valid"].any(1)[-1], "the rollout ends with the slowest env"


def test_every_update_begins_new_games_and_other_ones(make_runner):
    runner = make_runner(*CARTPOLE)
    first, second = runner.sample(), runner.sample()
    for rollout in (first, second):
        assert (np.abs(rollout["obs"][0]) <= 0.05).all()  # CartPole starts there and nowhere else
    assert not np.array_equal(first["obs"][0], second["obs"][0])


def test_on_pixels_too_every_update_begins_new_games_and_other_ones(make_runner):
    runner = make_runner(*ASSAULT, *SHORT_GAMES)
    first, second = (runner.sample()["frames"] for _ in range(2))
    stack = runner.layout.stack
    for frames in (first, second):
        assert not frames[: stack - 1].any() and frames[stack - 1].any((1, 2, 3)).all()  # nothing before the first
    assert not np.array_equal(first[stack - 1], second[stack - 1])  # other no-ops


def test_short_games_are_not_favoured(make_runner):
    """Games as they come would be the short ones: of env 0's long and env 1's short games each counts equally often."""
    rollout = make_runner(*CARTPOLE[:-2], "algo.num_envs=4", "algo.episodes_per_update=4").sample()
    lengths = rollout["valid"].sum(0)
    assert sorted(lengths.tolist()) == sorted(rollout.lengths) and len(set(lengths.tolist())) > 1


def test_pieces_join_without_a_seam(make_runner, monkeypatch):
    """The same games, recorded in pieces of 7 steps or in one."""
    for overrides in (CARTPOLE, (*ASSAULT, *SHORT_GAMES), (*CARTPOLE[:2], *CARTPOLE[3:], "model=mlp_lstm")):
        rollouts = []
        for piece in (7, 10_000):
            monkeypatch.setattr(episodes, "PIECE", piece)
            rollouts.append(make_runner(*overrides).sample())
        one, other = rollouts
        assert one.scores == other.scores and one.arrays.keys() == other.arrays.keys()
        for name in one.arrays:
            np.testing.assert_array_equal(one[name], other[name], name)


def test_a_game_of_pixels_is_played_to_its_end_through_lost_lives(make_runner):
    rollout = make_runner(*ASSAULT, "model.dtype=float32").sample()
    assert len(rollout.scores) == 2
    lost = (rollout["terminated"] & rollout["valid"]).sum(0)
    assert (lost >= 3).all(), "Assault has four lives, and each ends a training episode, not the game"
    last = [np.flatnonzero(rollout["valid"][:, n])[-1] for n in range(2)]
    assert all(rollout["game_reset"][t, n] for n, t in enumerate(last))
    assert rollout["game_reset"][rollout["valid"]].sum() == 2


@pytest.mark.parametrize("seed", [1, 2])
def test_a_seed_repeats_its_episodes(seed, make_runner):
    one, again = (make_runner(*CARTPOLE, f"seed={seed}").sample() for _ in range(2))
    assert one.scores == again.scores
    np.testing.assert_array_equal(one["actions"], again["actions"])
