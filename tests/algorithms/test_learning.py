"""It learns: CartPole, to the score that counts as solved."""

import pytest
import torch

from runs.build import build

SOLVED = 475  # over 100 games; Gymnasium's threshold


@pytest.mark.usefixtures("shared_ray")
def test_ppo_solves_cartpole(compose):
    settings = compose(["tuned_configs=cartpole_ppo"])
    algorithm = build(settings).build_algo()
    torch.set_num_threads(1)  # 64 neurons
    row, best = {"agent_steps": 0}, 0.0
    while row["agent_steps"] < settings["stop"]["agent_steps"] and best < SOLVED:
        row = algorithm.train()["row"]
        if row["episodes"] >= 100:
            best = max(best, row["episode_return_mean"])
    algorithm.stop()
    assert best >= SOLVED
