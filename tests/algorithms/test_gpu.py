"""On a GPU: an update is what it is on the CPU, up to rounding; two learners with a GPU each take the step of one."""

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from algorithms.learner import PROGRESS
from custom_models import cuda_graphs
from custom_models.cuda_graphs import COMPLAINTS, GraphedFunction
from rollouts.rollout import RolloutData

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
]
SMALL = ("algo.num_envs=4", "algo.horizon=16", "model.dtype=float32")
PPO = ("algo.minibatch_size=32", *SMALL)
CASES = {
    "ppo, assault": ("env=assault", "model.hidden=32", *PPO),
    "ppo, lstm": ("env=cartpole", "model=mlp_lstm", *PPO),
    "ppo, pendulum, kl": ("env=pendulum", "algo.kl_coeff=0.2", *PPO),
    "a2c": ("algo=a2c", "env=cartpole", *SMALL),
    "pg": ("algo=pg", "env=cartpole", "algo.num_envs=4", "algo.episodes_per_update=4", "model.dtype=float32"),
}


@pytest.fixture
def exact():
    """float32 as it is: no TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("case", CASES)
def test_an_update_on_a_gpu_is_that_on_the_cpu(case, make_runner, make_learner, exact):
    words = CASES[case]
    rollouts = [make_runner(*words, f"seed={seed}").sample() for seed in (1, 2)]
    here, there = make_learner(*words), make_learner(*words, num_gpus_per_learner=1)
    there.net.load_state_dict(here.net.state_dict())
    start = {name: value.clone() for name, value in here.net.state_dict().items()}
    reports = [one.update(training_data=RolloutData(rollouts), timesteps={PROGRESS: 0.0}) for one in (here, there)]
    assert there.parameters[0].is_cuda
    assert reports[1] == pytest.approx(reports[0], rel=1e-2, abs=1e-4)
    moved = max((value - start[name]).abs().max().item() for name, value in here.net.state_dict().items())
    for name, value in there.net.state_dict().items():
        assert (value.cpu() - here.net.state_dict()[name]).abs().max().item() < 0.1 * moved, name


def test_in_bf16_too_an_update_on_a_gpu_is_that_on_the_cpu(make_runner, make_learner):
    """As near as an update in bf16 and one in fp32 are on the CPU, and some more: 0.06 of the way that they move."""
    words = (*CASES["ppo, assault"], "model.dtype=bfloat16")
    rollouts = [make_runner(*words, f"seed={seed}").sample() for seed in (1, 2)]
    here, there = make_learner(*words), make_learner(*words, num_gpus_per_learner=1)
    there.net.load_state_dict(here.net.state_dict())
    start = parameters_to_vector(here.parameters)
    reports = [one.update(training_data=RolloutData(rollouts), timesteps={PROGRESS: 0.0}) for one in (here, there)]
    assert reports[1] == pytest.approx(reports[0], rel=3e-2, abs=1e-3)
    ends = [parameters_to_vector(one.parameters).cpu() for one in (here, there)]
    assert (ends[1] - ends[0]).norm() < 0.2 * (ends[0] - start).norm()


@pytest.mark.parametrize(
    "words", [("algo=ppo", *PPO), ("algo=a2c", *SMALL), ("algo=a2c", "algo.microbatch_size=32", *SMALL)]
)
def test_an_update_as_a_cuda_graph_is_the_eager_one(words, make_runner, make_learner, exact):
    words = ("env=assault", "model.hidden=32", *words)
    rollouts = [make_runner(*words, f"seed={seed}").sample() for seed in (1, 2)]
    eager, graphed = (make_learner(*words, num_gpus_per_learner=1) for _ in range(2))
    graphed.net.load_state_dict(eager.net.state_dict())
    eager._graphed._is_recordable = False
    for update in range(6):
        data, timesteps = RolloutData(rollouts), {PROGRESS: update / 10}  # the clip falls, too
        reports = [one.update(training_data=data, timesteps=timesteps) for one in (eager, graphed)]
        assert reports[1] == pytest.approx(reports[0], rel=1e-3, abs=1e-4)
        # Detached: where autograd still holds the parameters for the default stream, nothing can be recorded.
        ends = [parameters_to_vector(one.parameters).detach() for one in (eager, graphed)]
        assert (ends[1] - ends[0]).abs().max() < 1e-5 * (update + 1)
    assert graphed._graphed._recordings and not eager._graphed._recordings and not COMPLAINTS


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so(monkeypatch):
    monkeypatch.setattr(cuda_graphs, "COMPLAINTS", complaints := [])
    device = torch.device("cuda", 0)
    reads_a_number = GraphedFunction(lambda fixed, x: x * x.sum().item(), device, "this")
    x = torch.arange(3.0, device=device)
    assert [reads_a_number(None, x).tolist() for _ in range(5)] == [[0, 3, 6]] * 5
    assert len(complaints) == 1 and complaints[0].startswith("this runs without a CUDA graph, which is slower")


@pytest.mark.usefixtures("shared_ray")
def test_a_run_learns_on_a_gpu_and_goes_on_from_its_checkpoint(make_config, tmp_path):
    words = ("env=cartpole", "algo.num_envs=4", "algo.horizon=32", "algo.minibatch_size=64", "report_every=1")
    first, second = (make_config(*words, num_gpus_per_learner=1).build_algo() for _ in range(2))
    try:
        assert first.one_network and first.env_runner.module.policy.weight.is_cuda
        rows = [first.train()["row"] for _ in range(2)]
        assert rows[1]["policy_loss"] != rows[0]["policy_loss"]
        first.save_checkpoint(str(tmp_path))
        second.load_checkpoint(str(tmp_path))
        acting, learned = second.env_runner.module.parameters(), first.learner_group._learner.net.parameters()
        assert all(torch.equal(a, b) for a, b in zip(acting, learned, strict=True))
        assert second.train()["row"]["agent_steps"] > rows[1]["agent_steps"]
    finally:
        first.stop()
        second.stop()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="two learners on GPUs need two of them")
@pytest.mark.usefixtures("shared_ray")
def test_two_learners_on_gpus_take_the_step_that_one_would(make_runner, make_learner, make_config, exact):
    """Over NCCL. Ray has to be told of GPUs: `shared_ray` counts those of this machine."""
    words = ("algo=a2c", "env=cartpole", "algo.num_envs=4", "algo.horizon=16", "algo.lr=1e-2", "model.dtype=float32")
    rollouts = [make_runner(*words, f"seed={seed}").sample() for seed in (1, 2)]
    one = make_learner(*words)
    games = make_runner(*words).games
    config = make_config(*words, num_learners=2, num_gpus_per_learner=1)
    group = config.build_learner_group(spaces={"default_policy": (games.observation_space, games.action_space)})
    try:
        group.set_state({"learner": one.get_state()})
        one.update(training_data=RolloutData(rollouts), timesteps={PROGRESS: 0.0})
        group.update(training_data=RolloutData(rollouts), timesteps={PROGRESS: 0.0})
        weights = [r.get() for r in group.foreach_learner(lambda learner: learner.net.cpu().state_dict())]
    finally:
        group.shutdown()
    for name, value in one.net.state_dict().items():
        assert torch.equal(weights[0][name], weights[1][name]), "the two drift apart"
        torch.testing.assert_close(weights[0][name], value, rtol=1e-3, atol=1e-5)
