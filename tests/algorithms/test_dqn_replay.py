"""DQN's replay: rows hold what was played, across the ends of games, and targets are those of a slow version."""

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

GAMMA = 0.9
TINY = (
    "algo=dqn",
    "env=cartpole",
    "env.id=Diary-v0",
    "model.hidden=[8]",
    "algo.learning_starts=40",
    "algo.minibatch_size=32",
    "algo.buffer_size=1000",
    "algo.epsilon_agent_steps=10_000",  # actions are random
    "algo.num_envs=2",
    f"algo.gamma={GAMMA}",
    "report_every=100",
)
PRIORITIZED = ("algo.n_step=3", "algo.prioritized=true")
N_STEPS = [pytest.param((), 1, id="1 step"), pytest.param(PRIORITIZED, 3, id="3 steps, prioritized")]


class Diary(gymnasium.Env):
    """Every other game is lost after 4 steps, the others are cut after 6; `played` has all steps of all games.

    An observation is made of the number of the game, the step in it, the last action and the kind of game, so no two
    are equal. All numbers are exact in float32.
    """

    observation_space = gymnasium.spaces.Box(-1, 1000, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)
    played: dict[tuple, dict] = {}  # observation -> what came of it
    num_games = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        type(self).num_games += 1
        self.game, self.t, self.action = self.num_games, 0, -1
        return self.observe(), {}

    def observe(self):
        return np.array([self.game / 64, self.t / 8, self.action, self.game % 2], np.float32)

    def step(self, action):
        before, is_lost = tuple(self.observe()), self.game % 2 == 0
        self.t, self.action = self.t + 1, int(action)
        reward = self.game / 64 + self.t / 8 - self.action
        lost, cut = is_lost and self.t == 4, not is_lost and self.t == 6
        after = tuple(self.observe())
        self.played[before] = {
            "action": self.action, "reward": reward, "after": after, "lost": lost, "over": lost or cut
        }  # fmt: skip
        return self.observe(), reward, lost, cut, {}


@pytest.fixture(autouse=True)
def diary():
    gymnasium.register("Diary-v0", entry_point=Diary)
    Diary.played, Diary.num_games = {}, 0
    yield
    del gymnasium.registry["Diary-v0"]


@pytest.fixture
def make_dqn(make_algorithm, shared_ray):
    """Overrides of a tiny one -> a built DQN."""
    return lambda *overrides: make_algorithm(*TINY, *overrides)


def record_losses(learner) -> list[dict]:
    """Return a list that gets, of every minibatch from now on, its columns, the loss, and the weights at that time."""
    seen, original = [], learner.compute_loss_for_module

    def compute(*, module_id, config, batch, fwd_out):
        loss = original(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        net = learner.module[module_id].unwrapped()
        nets = {name: copy_layers(getattr(net, name)) for name in ("online", "target")}
        columns = {name: column.numpy() for name, column in batch.items() if isinstance(column, torch.Tensor)}
        seen.append({"batch": columns, "loss": loss.item(), **nets})
        return loss

    learner.compute_loss_for_module = compute
    return seen


def copy_layers(net: nn.Module) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weight and bias, float64, of each linear layer of a Q-network, in their order."""
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    head = [layer for layer in linear if layer.out_features == 3]
    layers = [layer for layer in linear if layer not in head] + head
    return [tuple(p.detach().double().numpy().copy() for p in (layer.weight, layer.bias)) for layer in layers]


def compute_q_values(layers, obs) -> np.ndarray:
    """Return the Q-values of one observation: tanh between linear layers."""
    x = np.array(obs, np.float64)
    for weight, bias in layers[:-1]:
        x = np.tanh(weight @ x + bias)
    weight, bias = layers[-1]
    return weight @ x + bias


def play_on(obs: tuple, n_step: int) -> dict:
    """Return what came of an observation within n steps, or up to the end of the game."""
    total, steps = 0.0, 0
    while True:
        step = Diary.played[obs]
        total, steps, obs = total + GAMMA**steps * step["reward"], steps + 1, step["after"]
        if steps == n_step or step["over"]:
            return {"rewards": total, "steps": steps, "after": obs, "lost": step["lost"], "over": step["over"]}


@pytest.mark.parametrize(("overrides", "n_step"), N_STEPS)
def test_rows_are_steps_that_were_played(overrides, n_step, make_dqn):
    algorithm = make_dqn(*overrides)
    seen = record_losses(algorithm.learner_group._learner)
    algorithm.train()
    ends = set()
    for minibatch in seen:
        rows = minibatch["batch"]
        for i, obs in enumerate(map(tuple, rows["obs"])):
            then = play_on(obs, n_step)
            assert rows["actions"][i] == Diary.played[obs]["action"]
            assert rows["rewards"][i] == pytest.approx(then["rewards"], rel=1e-6)
            assert bool(rows["terminateds"][i]) == then["lost"]
            # After a game that was cut, it is the last observation of that game. The target of a lost game reads none.
            assert then["lost"] or tuple(rows["new_obs"][i]) == then["after"]
            assert rows["n_step"][i] == then["steps"]
            if then["over"]:
                ends.add(then["lost"])
    assert len(seen) > 10 and ends == {True, False}, "games that were lost and games that were cut"


def test_the_buffer_holds_every_step_once(make_dqn):
    algorithm = make_dqn("algo.learning_starts=200", "report_every=150")
    algorithm.train()
    rows = [
        (tuple(episode.get_observations(t)), episode.get_actions(t), episode.get_rewards(t))
        for episode in algorithm.local_replay_buffer.episodes
        for t in range(len(episode))
    ]
    assert len(rows) == len({row[0] for row in rows}) == len(algorithm.local_replay_buffer) >= 150
    assert all(Diary.played[obs]["action"] == action for obs, action, _ in rows)
    assert all(Diary.played[obs]["reward"] == reward for obs, _, reward in rows)
    missing = Diary.played.keys() - {row[0] for row in rows}
    assert len(missing) <= 2, "one of each env at most, which has not been handed over yet"


@pytest.mark.parametrize("double_q", [False, True], ids=["largest Q", "double Q"])
@pytest.mark.parametrize(("overrides", "n_step"), N_STEPS)
def test_targets_and_loss_are_those_of_a_slow_version(overrides, n_step, double_q, make_dqn):
    """Mnih et al. 2015, Algorithm 1; van Hasselt et al. 2016, eq. 4; the error's Huber loss, weighted where rows are
    drawn by priority (Schaul et al. 2016)."""
    algorithm = make_dqn(*overrides, f"algo.double_q={double_q}", "algo.lr=0.01", "algo.target_every=1000")
    learner = algorithm.learner_group._learner
    for p in learner.module["default_policy"].unwrapped().target.parameters():
        nn.init.normal_(p, generator=torch.Generator().manual_seed(1))
    seen = record_losses(learner)
    algorithm.train()
    assert len(seen) > 10
    differ = 0
    for minibatch in seen[::3]:
        rows, losses = minibatch["batch"], []
        for i, obs in enumerate(map(tuple, rows["obs"])):
            then = play_on(obs, n_step)
            of_target, of_online = (compute_q_values(minibatch[name], then["after"]) for name in ("target", "online"))
            differ += int(of_target.argmax() != of_online.argmax())
            chosen = of_online.argmax() if double_q else of_target.argmax()
            target = then["rewards"] + (0.0 if then["lost"] else GAMMA ** then["steps"] * of_target[chosen])
            error = abs(compute_q_values(minibatch["online"], obs)[Diary.played[obs]["action"]] - target)
            losses.append(rows["weights"][i] * (0.5 * error**2 if error < 1 else error - 0.5))
        assert minibatch["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert differ > 30, "rows for which double Q and the largest Q choose two actions"
