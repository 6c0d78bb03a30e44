import re

import pytest
import yaml
from small_worlds import MLP, make_agent

from environments.games import make_games
from evidence.precision import compare_networks, main, play_batch

CARTPOLE = {"name": "cartpole", "id": "CartPole-v1", "frameskip": 1, "clip_rewards": False}


@pytest.fixture
def played():
    """An agent in fp32, and what it did."""
    agent, games = make_agent(CARTPOLE, MLP, 1, None), make_games(CARTPOLE, 8, 1)
    yield agent, play_batch(agent, games, seed=1)
    games.close()


def test_an_agent_does_not_differ_from_itself(played):
    agent, batch = played
    found = compare_networks(agent, agent, batch)
    assert found["dlogp_fp32"] == found["dvalue_fp32"] == 0
    assert found["dlogp_acting"] < 1e-5
    assert found["cos_fp32"] == pytest.approx(1)
    assert abs(found["cos_minibatches"]) < 0.99


def test_another_agent_differs(played):
    agent, batch = played
    found = compare_networks(agent, make_agent(CARTPOLE, MLP, 2, None), batch)
    assert found["dlogp_fp32"] > 1e-4 and found["dvalue_fp32"] > 0.01 and found["cos_fp32"] < 0.9


def test_bf16_differs_by_rounding_alone(make_run, capsys):
    assert main([str(make_run())]) == 0
    numbers = dict(re.findall(r"(\w+) (-?[\d.]+)", capsys.readouterr().out.removeprefix("seed 1: ")))
    assert 0 < float(numbers["dvalue_fp32"]) < 0.05
    assert 0.99 < float(numbers["cos_fp32"]) <= 1


def test_a_mistake_is_a_sentence_and_exit_code_2(tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 2
    assert f"run={tmp_path / 'nothing'}: " in capsys.readouterr().err
    assert main([]) == 2


@pytest.mark.parametrize(("of_run", "of_model"), [({}, {"lstm_size": 8}), ({"name": "dqn"}, {})])
def test_a_network_with_a_memory_and_dqn_are_refused(of_run, of_model, make_run, capsys):
    run = make_run(model=of_model)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"algo": settings["algo"] | of_run}))
    assert main([str(run)]) == 2
    assert f"run={run}: " in capsys.readouterr().err
