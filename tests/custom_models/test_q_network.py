"""The Q-network: heads, target network, and acting by epsilon-greedy."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_NEXT_PREDS, QF_PREDS, QF_TARGET_NEXT_PREDS

from custom_models.q_network import EpsilonGreedy, QNetwork

NUMBERS = Box(-1, 1, (4,), np.float32)
MLP = {"torso": "mlp", "hidden": [8], "activation": "tanh", "init": "orthogonal", "dtype": "float32"}
MLP |= {"shared_trunk": True, "dueling": False, "double_q": False, "epsilon": [(0, 1.0), (100, 0.1)]}


def make(inference_only: bool = False, **changes) -> QNetwork:
    torch.manual_seed(0)
    spaces = {"observation_space": NUMBERS, "action_space": Discrete(3)}
    return QNetwork(**spaces, model_config=MLP | changes, inference_only=inference_only)


def some(rows: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32))


def test_the_value_is_that_of_the_best_action():
    module, obs = make(), some()
    q_values, best = module.compute_policy_and_value(obs, module.pack())
    assert q_values.shape == (5, 3)
    torch.testing.assert_close(best, torch.stack([row.max() for row in q_values]))
    acted, values, state = module.act(obs, module.pack(), module.make_initial_state(5))
    torch.testing.assert_close(acted, q_values)
    torch.testing.assert_close(values, best)
    assert state == ()


@pytest.mark.parametrize("shared_trunk", [True, False])
def test_a_dueling_network_s_q_values_have_the_state_s_value_as_their_mean(shared_trunk):
    module, obs = make(dueling=True, shared_trunk=shared_trunk), some()
    torsos = {True: 1, False: 2}[shared_trunk]
    assert sum(name.startswith("online.") and "layers.0.weight" in name for name in module.state_dict()) == torsos
    online = module.online
    torso = online.torso if shared_trunk else online.value_torso
    value = online.value(torso(obs, torso.pack()))
    q_values, _ = module.compute_policy_and_value(obs, module.pack())
    torch.testing.assert_close(q_values.mean(-1, keepdim=True), value)


def test_the_target_network_is_a_copy_that_does_not_learn():
    module, obs, next_obs = make(double_q=True), some(), some(seed=1)
    batch = {"obs": obs, "new_obs": next_obs}
    before = module.forward_train(batch)
    torch.testing.assert_close(before[QF_NEXT_PREDS], before[QF_TARGET_NEXT_PREDS])
    before[QF_PREDS].sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in module.target.parameters())
    with torch.no_grad():
        for parameter in module.online.parameters():
            parameter += 1
    after = module.forward_train(batch)
    torch.testing.assert_close(after[QF_TARGET_NEXT_PREDS], before[QF_TARGET_NEXT_PREDS])
    assert not torch.allclose(after[QF_PREDS], before[QF_PREDS])
    assert not torch.allclose(after[QF_NEXT_PREDS], before[QF_NEXT_PREDS])
    assert QF_NEXT_PREDS not in make().forward_train(batch), "without double Q nobody asks for them"


def test_a_runner_s_copy_has_no_target_and_takes_the_learner_s_weights():
    learner, runner = make(), make(inference_only=True)
    assert not any(name.startswith("target") for name in runner.state_dict())
    runner.set_state(learner.get_state(inference_only=True))
    torch.testing.assert_close(
        runner.compute_policy_and_value(some(), runner.pack()), learner.compute_policy_and_value(some(), learner.pack())
    )


def test_exploration_follows_the_schedule_over_agent_steps():
    module, obs = make(inference_only=True), some(4000)
    best = module.forward_inference({"obs": obs})["actions"]
    for steps, epsilon in [(0, 1.0), (50, 0.55), (100, 0.1), (10**6, 0.1)]:
        module.generator.manual_seed(steps)
        chosen = module.forward_exploration({"obs": obs}, t=steps)["actions"]
        other = (chosen != best).float().mean().item()
        assert other == pytest.approx(epsilon * 2 / 3, abs=0.03)  # one random action in three is the best one


def test_evaluation_is_greedy_or_takes_one_action_in_twenty_at_random():
    policy = EpsilonGreedy(torch.tensor([[0.0, 2.0, 1.0]]).expand(20000, 3))
    assert (policy.mode() == 1).all()
    one, again = (policy.sample(torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, again)
    counts = torch.bincount(one, minlength=3) / 20000
    torch.testing.assert_close(counts, torch.tensor([0.05 / 3, 1 - 0.1 / 3, 0.05 / 3]), atol=0.004, rtol=0)
