"""The audit: no probe fails on what the suite is, known differences are the known ones, and faults are found."""

import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import ray
import torch

import run
from algorithms import a2c
from algorithms.learner import RolloutLearner
from algorithms.suite_algorithm import SuiteAlgorithm
from audit import run_probes as run_probes_module
from audit.commands import audit
from audit.report import count_answers, describe_audit, format_answer, format_files, list_probes, run_probes
from custom_models.actor_critic import ActorCritic
from custom_models.distributions import Categorical, Gaussian, MultiCategorical
from environments.frame_stack import FrameStack
from environments.games import AtariGames
from probes.probe import DIFFERS, FAIL, PASS, PROBES, SKIPPED, Finding, Probe
from probes.subject import Subject
from rollouts import returns, streams
from rollouts.rollout import Rollout
from rollouts.runner import VectorEnvRunner
from settings.mistakes import Mistake

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("env=cartpole", "model.hidden=[16]")
TIME_LIMIT = "after a time limit the value of the last observation counts"
FIRST_STEPS = "the first steps have their full size"
MOVED = "how far the policy has moved from its beginning"
NO_OPS = "a game begins after random no-ops"
SAME_NETWORK = "policy and values equal"
SHORT = ("algo.num_envs=2", "algo.horizon=8", "algo.minibatch_size=16")
TRUNCATION = "a time limit is a truncation: the value of what would come counts"
GRADIENT, CLIP, DRAWN = "the gradient of an update", "the clip range", "actions are drawn"
RESUMED, SHOWN, ONE_STEP = "a run that is resumed", "every epoch shows", "an update is one step"
STREAMS, FINAL_VALUES, STICKY = "workers, envs and actions", "the value behind a time limit", "sticky actions"
OWN_WORLDS = "env.id=tests.environments.own_worlds"
ASSAULT_OF_TWO = ("algo=ppo", "env=assault", *SHORT)


@pytest.fixture
def make_subject(shared_ray, compose, one_thread):
    """Overrides -> the Subject of an audit that trains a little."""
    made = []

    def make(*overrides: str, agent_steps: int = 300, own: dict | None = None) -> Subject:
        settings = compose(overrides)
        settings["algo"] |= own or {}
        made.append(Subject(settings, agent_steps=agent_steps))
        return made[-1]

    yield make
    for subject in made:
        subject.close()


def ask(subject: Subject, *questions: str) -> dict[str, Finding]:
    """Return question -> finding of the probes whose question begins so; of all without one."""
    chosen = [p for p in list_probes(subject.words) if not questions or p.question.startswith(questions)]
    assert chosen
    return {p.question: p.answer(subject) for p in chosen}


@pytest.mark.parametrize(
    ("overrides", "differs"),
    [
        (("algo=ppo", "algo.minibatch_size=64"), {TIME_LIMIT}),
        (("algo=a2c", "algo.rmsprop_start=0"), {TIME_LIMIT}),
        (("algo=a2c", "algo.rmsprop_start=1"), {TIME_LIMIT, FIRST_STEPS}),
        (("algo=a3c", "algo.num_workers=2", "algo.num_envs=4", "algo.rmsprop_start=1"), {TIME_LIMIT, FIRST_STEPS}),
        (("algo=pg",), set()),
    ],
    ids=["ppo", "a2c from 0", "a2c from 1", "a3c", "pg"],
)
def test_nothing_fails_and_what_differs_is_known(overrides, differs, make_subject):
    answers = run_probes(make_subject(*SMALL, *overrides))
    of = {status: {a.probe.question for a in answers if a.finding.status == status} for status in (PASS, DIFFERS, FAIL)}
    assert of[FAIL] == set()
    assert of[DIFFERS] - {MOVED} == differs  # 300 agent steps of RMSProp move a policy hardly at all
    assert len(of[PASS]) >= 25


CHANGED = {"epochs", "value coefficient c1", "horizon T", "actors N", "minibatch size"}


@pytest.mark.parametrize(
    ("subjects", "differs"),
    [
        ({"settings"}, CHANGED),
        pytest.param({"games"}, {NO_OPS, TRUNCATION}, marks=pytest.mark.end_to_end),
        ({"frames", "network"}, set()),
        pytest.param({"seeds", "returns", "loss"}, {TIME_LIMIT}, marks=pytest.mark.end_to_end),
    ],
    ids=["settings", "games", "frames", "updates"],
)
def test_an_atari_experiment_has_at_least_45_probes_and_its_game_is_probed(subjects, differs, make_subject):
    subject = make_subject("algo=ppo", "env=assault", "algo.num_envs=2", "algo.horizon=16", "algo.minibatch_size=16")
    assert len(list_probes(subject.words)) >= 45
    found = {p.question: p.answer(subject) for p in list_probes(subject.words) if p.subject in subjects}
    assert [q for q, finding in found.items() if finding.status == FAIL] == []
    assert {q for q, finding in found.items() if finding.status == DIFFERS} >= differs


def test_an_lstm_s_memory_is_probed(make_subject):
    subject = make_subject("env=cue", "algo=ppo", "algo.num_envs=4", "algo.horizon=16", "algo.minibatch_size=32")
    (finding,) = ask(subject, "the memory is empty").values()
    assert finding.status == PASS


def test_continuous_actions_are_probed(make_subject):
    subject = make_subject("env=pendulum", "algo=ppo", "algo.num_envs=2", "algo.horizon=32", "algo.minibatch_size=32")
    assert {f.status for f in ask(subject, "log-probability", "the policy that learns").values()} == {PASS}


WIDER = lambda self, *_: self.mean + 3 * self.log_std.exp() * torch.randn_like(self.mean)  # noqa: E731
ONLY_THE_FIRST = lambda self, *_: torch.zeros(len(self.log_probs), len(self.sizes), dtype=torch.long)  # noqa: E731


@pytest.mark.parametrize(
    ("env", "policy", "wrong"),
    [
        ("env=pendulum", Gaussian, WIDER),
        (f"env=gymnasium {OWN_WORLDS}:Matching-v0", MultiCategorical, ONLY_THE_FIRST),
    ],
    ids=["box", "several parts"],
)
def test_other_actions_than_the_policy_s_are_found(env, policy, wrong, make_subject, monkeypatch):
    subject = make_subject("algo=ppo", "model.hidden=[8]", *SHORT, *env.split())
    assert next(iter(ask(subject, DRAWN).values())).status == PASS
    monkeypatch.setattr(policy, "sample", wrong)
    assert next(iter(ask(subject, DRAWN).values())).status == FAIL


@pytest.mark.parametrize("env", [("env=pendulum",), ("env=gymnasium", f"{OWN_WORLDS}:Wide-v0", "model=minigrid_cnn")])
def test_values_behind_the_time_limit_of_one_environment_are_compared(env, make_subject, monkeypatch):
    subject = make_subject("algo=a2c", "algo.num_envs=2", "algo.horizon=8", *env)
    assert next(iter(ask(subject, FINAL_VALUES).values())).status == PASS
    forget_final_values(monkeypatch)
    subject.__dict__.pop("cut")
    assert next(iter(ask(subject, FINAL_VALUES).values())).status == FAIL


def test_the_critic_s_own_layers_are_measured(make_subject):
    subject = make_subject(*SMALL, "algo=ppo")
    assert next(iter(ask(subject, "first weights").values())).status == PASS
    subject.net.value_torso.layers[0].weight.data *= 2
    assert next(iter(ask(subject, "first weights").values())).status == FAIL


def test_layers_that_pad_are_not_the_paper_s(make_subject):
    subject = make_subject(*ASSAULT_OF_TWO)
    assert next(iter(ask(subject, "its layers are").values())).status == PASS
    subject.net.torso.layers = [layer._replace(same=True) for layer in subject.net.torso.layers]
    assert next(iter(ask(subject, "its layers are").values())).status == FAIL


@pytest.mark.parametrize(("staleness", "status"), [(0.0, PASS), (1.0, FAIL), (-1.0, FAIL)])
def test_gradients_of_one_process_are_not_stale(staleness, status):
    row = {"staleness": staleness}
    assert run_probes_module.follow_staleness(SimpleNamespace(last_row=row)).status == status


def test_what_fire_scores_belongs_to_the_game():
    list_probes(set())
    (probe,) = (p for p in PROBES if "monte_carlo" in p.needs and p.question.startswith("a score is the sum"))
    rows = {"rewards": np.array([[1.0], [50.0], [2.0], [7.0]]), "valid": np.array([[True], [False], [True], [False]])}
    for scores, status in (([53.0], PASS), ([3.0], FAIL)):
        assert probe.answer(SimpleNamespace(rollout=Rollout(rows, scores, [2], 0))).status == status


@pytest.mark.parametrize(
    ("overrides", "question", "status"),
    [
        (("env.sticky=0.005",), STICKY, PASS),
        (("env.sticky=1",), STICKY, PASS),
        (("env.max_episode_frames=600",), "random play scores", SKIPPED),
        (("env.frameskip=2",), "random play scores", SKIPPED),
        (("env.life_loss=false",), "FIRE is pressed once", SKIPPED),
        (("algo.vf_coeff=0",), "every parameter has a gradient", PASS),
    ],
    ids=["rarely sticky", "always sticky", "short games", "two frames", "no lost lives", "no critic"],
)
def test_settings_that_leave_nothing_to_see_are_no_fault(overrides, question, status, make_subject):
    short = ("algo.num_envs=2", "algo.horizon=8", "model.hidden=16", *overrides)
    (finding,) = ask(make_subject("algo=ppo", "env=assault", "algo.minibatch_size=16", *short), question).values()
    assert finding.status == status, finding.found


def give_weights(monkeypatch, weights: dict) -> None:
    """Let a checkpoint have these weights: name -> tensor."""
    arrays = {name: tensor.numpy() for name, tensor in weights.items()}
    monkeypatch.setattr("probes.subject.read_weights", lambda checkpoint: arrays)


def test_the_worker_of_a3c_plays_with_the_weights_of_the_checkpoint(make_subject, compose, monkeypatch):
    words = (*SMALL, "algo=a3c", "algo.num_workers=1", "algo.num_envs=2")
    give_weights(monkeypatch, {k: w + 1 for k, w in make_subject(*words).net.state_dict().items()})
    audited = Subject(compose(words), Path("checkpoints/best"))
    try:
        for mine, learner_s in zip(audited.runner.module.parameters(), audited.net.parameters(), strict=True):
            assert mine is not learner_s and torch.equal(mine, learner_s)
    finally:
        audited.close()


def test_a_checkpoint_of_another_model_is_refused(make_subject, compose, monkeypatch):
    give_weights(monkeypatch, make_subject(*SMALL, "algo=ppo", "model.hidden=[4]").net.state_dict())
    with pytest.raises(Mistake, match="checkpoints/best"):
        Subject(compose((*SMALL, "algo=ppo")), Path("checkpoints/best"))


def test_the_files_name_the_checkpoint_and_its_agent_steps(make_subject, tmp_path):
    (tmp_path / "progress.json").write_text('{"agent_steps": 5000}')
    subject = make_subject(*SMALL, "algo=ppo")
    content = describe_audit(subject, [], "ppo on cartpole", tmp_path, 1.0)
    assert (content["checkpoint"], content["agent_steps"]) == (str(tmp_path), 5000)
    assert f"{tmp_path}, 5,000 agent steps" in format_files(content, "")["audit.md"]
    new = describe_audit(subject, [], "ppo on cartpole", None, 1.0)
    assert (new["checkpoint"], new["agent_steps"]) == (None, 0)


# Faults in what trains: functions that break it in the algorithm `where`, and the questions that have to see them.
ADVANTAGES, RETURNS = "advantages are sums", "returns are discounted"
LOSSES = {"ppo": "ppo_loss", "a2c": "a2c_loss", "pg": "pg_loss"}


def break_loss(monkeypatch, where: str, change) -> None:
    """Let the learner's loss function have other rows and settings, which `change` returns."""
    name = f"algorithms.{where}.{LOSSES[where]}"
    right = getattr(sys.modules[f"algorithms.{where}"], LOSSES[where])

    def wrong(*given):
        batch, *settings = given[1:] if where == "pg" else given[2:]
        batch, settings = change(dict(batch), settings)
        return right(*given[: 1 if where == "pg" else 2], batch, *settings)

    monkeypatch.setattr(name, wrong)


def forget_gamma_and_lambda(monkeypatch, where):
    if where == "pg":
        right = returns.monte_carlo
        monkeypatch.setattr("algorithms.pg.monte_carlo", lambda r, *ends_gamma: right(r, *ends_gamma[:2], 0.5))
    else:
        right = returns.gae
        wrong = lambda r, v, *ends, **named: right(r, v, *ends[:3], 0.5, 0.0, *ends[5:])  # noqa: E731
        monkeypatch.setattr(f"algorithms.{where}.gae", wrong)


def negate_weights(monkeypatch, where):
    name = "weights" if where == "pg" else "advantages"
    break_loss(monkeypatch, where, lambda batch, settings: (batch | {name: -batch[name]}, settings))


def change_coefficients(monkeypatch, where):
    of = {"ppo": lambda s: [*s[:2], 1e-9, -5.0, *s[4:]], "a2c": lambda s: [1e-9, -5.0], "pg": lambda s: [-5.0]}[where]
    break_loss(monkeypatch, where, lambda batch, settings: (batch, of(settings)))


def double_entropy(monkeypatch, where):
    of = {"ppo": lambda s: [*s[:3], 2 * s[3], *s[4:]], "a2c": lambda s: [s[0], 2 * s[1]]}[where]
    break_loss(monkeypatch, where, lambda batch, settings: (batch, of(settings)))


def clip_nothing(monkeypatch, where):
    break_loss(monkeypatch, where, lambda batch, settings: (batch, [1e9, *settings[1:]]))


def keep_clip_range(monkeypatch, where):
    break_loss(monkeypatch, where, lambda batch, settings: (batch, [0.1, *settings[1:]]))


def draw_with_replacement(monkeypatch, where):
    draw = lambda n, generator=None: torch.randint(n, (n,), generator=generator)  # noqa: E731
    monkeypatch.setattr(torch, "randperm", draw)


def keep_the_order(monkeypatch, where):
    monkeypatch.setattr(torch, "randperm", lambda n, generator=None: torch.arange(n))


def cut_unevenly(monkeypatch, where):
    cut = lambda numbers, parts: numbers.split([len(numbers) - parts + 1] + [1] * (parts - 1))  # noqa: E731
    monkeypatch.setattr(torch.Tensor, "tensor_split", cut)


def play_the_same_envs(monkeypatch, where):
    first = property(lambda self: 0, lambda self, number: None)
    monkeypatch.setattr(VectorEnvRunner, "_first", first, raising=False)


def record_no_final_values(monkeypatch, where):
    right = VectorEnvRunner.sample

    def sample(self):
        rollout = right(self)
        columns = dict(rollout.arrays) | {"final_values": np.zeros_like(rollout["final_values"])}
        return Rollout(columns, rollout.scores, rollout.lengths, 0)

    monkeypatch.setattr(VectorEnvRunner, "sample", sample)


def leave_out_rows(monkeypatch, where):
    right = RolloutLearner.select_rows
    short = lambda self, *given: {name: column[:-3] for name, column in right(self, *given).items()}  # noqa: E731
    monkeypatch.setattr(RolloutLearner, "select_rows", short)


def begin_again(monkeypatch, where):
    monkeypatch.setattr(
        "rollouts.runner.seed_streams", lambda seed, worker, steps: streams.seed_streams(seed, worker, 0)
    )


def give_workers_one_stream(monkeypatch, where):
    monkeypatch.setattr(
        "rollouts.runner.seed_streams", lambda seed, worker, steps: streams.seed_streams(seed, 0, steps)
    )


def ignore_time_limits(monkeypatch, where):
    def next_values(values, final_values, terminated, truncated):
        return torch.where(terminated | truncated, 0.0, values[1:])

    monkeypatch.setattr(returns, "next_values", next_values)


def prefer_the_first_action(monkeypatch, where):
    monkeypatch.setattr(Categorical, "sample", lambda self, *_, **__: self.log_probs.argmax(-1))


def take_all_rows_at_once(monkeypatch, where):
    right = RolloutLearner.iterate_minibatches
    monkeypatch.setattr(
        RolloutLearner,
        "iterate_minibatches",
        lambda self, batch, columns, size, *given: right(self, batch, columns, 10**6, *given),
    )


def lose_the_gradient(monkeypatch, where):
    def clip_gradient(self):
        for p in self.parameters:
            p.grad = torch.zeros_like(p)
        return torch.tensor(1.0)

    monkeypatch.setattr(RolloutLearner, "clip_gradient", clip_gradient)


def put_epsilon_outside(monkeypatch, where):
    def make(name, parameters, lr, eps, rmsprop_start):
        return torch.optim.RMSprop(parameters, lr, alpha=0.99, eps=eps)

    monkeypatch.setattr("algorithms.learner.make_optimizer", make)


FAULTS = {
    "ppo": {
        forget_gamma_and_lambda: (ADVANTAGES, GRADIENT),
        negate_weights: (GRADIENT,),
        change_coefficients: (GRADIENT,),
        double_entropy: (GRADIENT,),
        clip_nothing: (GRADIENT, CLIP),
        keep_clip_range: (CLIP,),
        draw_with_replacement: (SHOWN,),
        keep_the_order: (SHOWN,),
        cut_unevenly: (SHOWN,),
        leave_out_rows: (SHOWN,),
        take_all_rows_at_once: (SHOWN,),
        lose_the_gradient: ("a gradient that is too long",),
        begin_again: (RESUMED,),
        play_the_same_envs: (STREAMS,),
        ignore_time_limits: (TIME_LIMIT, GRADIENT),
        record_no_final_values: (FINAL_VALUES,),
        prefer_the_first_action: (DRAWN,),
    },
    "a2c": {
        forget_gamma_and_lambda: (ADVANTAGES, GRADIENT),
        negate_weights: (GRADIENT,),
        change_coefficients: (GRADIENT,),
        double_entropy: (GRADIENT,),
        leave_out_rows: (ONE_STEP,),
        begin_again: (RESUMED,),
        put_epsilon_outside: ("steps are those",),
    },
    "a3c": {
        forget_gamma_and_lambda: (ADVANTAGES, GRADIENT),
        negate_weights: (GRADIENT,),
        change_coefficients: (GRADIENT,),
        begin_again: (RESUMED,),
        give_workers_one_stream: (STREAMS,),
    },
    "pg": {
        forget_gamma_and_lambda: (RETURNS, GRADIENT),
        negate_weights: (GRADIENT,),
        change_coefficients: (GRADIENT,),
        leave_out_rows: (ONE_STEP,),
        begin_again: (RESUMED,),
    },
}


@pytest.mark.parametrize("algo", FAULTS)
def test_a_fault_in_what_trains_is_found(algo, make_subject):
    few = ("algo.num_workers=2", "algo.num_envs=4") if algo == "a3c" else ()
    lambda_below_1 = () if algo == "pg" else ("algo.gae_lambda=0.9", "algo.entropy_coeff=0.01")
    subject = make_subject(*SMALL, f"algo={algo}", *few, *lambda_below_1)
    questions = tuple({question for seen in FAULTS[algo].values() for question in seen})
    assert {f.status for f in ask(subject, *questions).values()} <= {PASS, DIFFERS}
    for fault, seen in FAULTS[algo].items():
        with pytest.MonkeyPatch.context() as patch:
            fault(patch, "a2c" if algo == "a3c" else algo)
            for cached in ("first_update", "acted", "cut"):
                subject.__dict__.pop(cached, None)
            found = {question: f.status for question, f in ask(subject, *seen).items()}
        assert list(found.values()) == [FAIL] * len(seen), (fault.__name__, found)


def turn_entropy(patch):
    right = a2c.a2c_loss
    patch.setattr(a2c, "a2c_loss", lambda policy, values, rows, c1, c2: right(policy, values, rows, c1, -c2))


def act_on_zeros(patch):
    def act(self, packed):
        obs = torch.zeros_like(torch.from_numpy(self._stack.get_observations()))
        return self._acting.act(self.module, obs, packed, self._state)

    patch.setattr(VectorEnvRunner, "_act", act)


def change_heads(patch, change):
    right = ActorCritic.apply_heads
    patch.setattr(ActorCritic, "apply_heads", lambda self, features, packed: change(right, self, features, packed))


def negate_policy(patch):
    def change(right, net, features, packed):
        policy, values = right(net, features, packed)
        return -policy, values

    change_heads(patch, change)


def mix_rows(patch):
    def change(right, net, features, packed):
        return right(net, features - features.mean(tuple(range(features.dim() - 1)), keepdim=True), packed)

    change_heads(patch, change)


def keep_old_pictures(patch):
    right = FrameStack.push
    patch.setattr(FrameStack, "push", lambda self, obs, reset: right(self, obs, np.zeros_like(reset)))


def change_step(patch, change):
    right = AtariGames.step
    patch.setattr(AtariGames, "step", lambda self, actions: change(right(self, actions)))


def end_with_the_new_picture(patch):
    change_step(patch, lambda step: step._replace(final_obs=None if step.final_obs is None else step.obs))


def forget_final_values(patch):
    zeros = lambda self, *_: np.zeros(self.num_envs, np.float32)  # noqa: E731
    patch.setattr(VectorEnvRunner, "_compute_final_values", zeros)


def change_values(patch, change):
    right = VectorEnvRunner.sample

    def sample(self):
        rollout = right(self)
        return Rollout(dict(rollout.arrays) | {"values": change(rollout["values"].copy())}, rollout.scores, [], 0)

    patch.setattr(VectorEnvRunner, "sample", sample)


def record_other_values(patch):
    change_values(patch, lambda values: -5 * values + 7)


def forget_the_value_behind(patch):
    change_values(patch, lambda values: np.concatenate([values[:-1], 0 * values[-1:]]))


def open_with_other_rules(patch):
    right = AtariGames.__init__
    patch.setattr(AtariGames, "__init__", lambda self, env, *given: right(self, env | {"sticky": 0.9}, *given))


def never_advance(patch):
    patch.setattr(SuiteAlgorithm, "compute_share_done", lambda self: 0.0)


def count_every_row(patch):
    patch.setattr(Rollout, "agent_steps", property(lambda self: self["valid"].size))


def keep_old_memory(patch):
    right = VectorEnvRunner._play_step

    def play(self, arrays, t, packed):
        step, kept = self.games.step, []
        self.games.step = lambda actions: (kept.extend(part.clone() for part in self._state), step(actions))[1]
        found = right(self, arrays, t, packed)
        self.games.step = step
        for part, old in zip(self._state, kept, strict=True):
            part.copy_(old)
        return found

    patch.setattr(VectorEnvRunner, "_play_step", play)


def learn_with_old_memory(patch):
    right = RolloutLearner._load_rollout

    def load(self, rollout):
        columns = right(self, rollout)
        return columns | {"starts": torch.zeros_like(columns["starts"])}

    patch.setattr(RolloutLearner, "_load_rollout", load)


RATIO, SAME_ROWS = "the policy that learns", "the same observation"
VALUES, MEMORY = "the recorded values", "the memory is empty"
OF_PIXELS = {  # faults that rounding to bfloat16, or games that do not end in a short Rollout, could hide
    "nature_cnn": {
        turn_entropy: (GRADIENT,),
        act_on_zeros: (RATIO, VALUES),
        negate_policy: (SAME_NETWORK,),
        mix_rows: (SAME_NETWORK, SAME_ROWS),
        keep_old_pictures: (RATIO, VALUES),
        end_with_the_new_picture: (TRUNCATION,),
        forget_final_values: (FINAL_VALUES,),
        record_other_values: (VALUES,),
        forget_the_value_behind: (VALUES,),
        open_with_other_rules: (STICKY,),
        never_advance: ("the step size follows",),
        count_every_row: ("agent steps are counted",),
    },
    "cnn_lstm": {keep_old_memory: (RATIO, VALUES, MEMORY), learn_with_old_memory: (RATIO, GRADIENT)},
}


@pytest.mark.parametrize("model", OF_PIXELS)
def test_a_fault_is_found_in_bfloat16_and_across_the_ends_of_games(model, make_subject):
    memory = () if model == "nature_cnn" else ("model.lstm_size=16",)
    small = ("algo.num_envs=2", "algo.horizon=8", "model.hidden=16", "model.dtype=bfloat16", *memory)
    subject = make_subject("algo=a2c", "env=assault", "env.protocol=machado", f"model={model}", *small)
    assert subject.plan.dtype == "bfloat16"
    questions = tuple({question for seen in OF_PIXELS[model].values() for question in seen})
    assert {f.status for f in ask(subject, *questions).values()} <= {PASS, DIFFERS}
    for fault, seen in OF_PIXELS[model].items():
        with pytest.MonkeyPatch.context() as patch:
            fault(patch)
            for cached in ("rollout", "batch", "spread_learner", "acted", "cut", "first_update"):
                subject.__dict__.pop(cached, None)
            found = {question: f.status for question, f in ask(subject, *seen).items()}
        assert list(found.values()) == [FAIL] * len(seen), (fault.__name__, found)


SIX = {
    "gamma": (forget_gamma_and_lambda, "a2c"),
    "negative advantages": (negate_weights, "ppo"),
    "clip": (clip_nothing, "ppo"),
}


@pytest.mark.parametrize(("fault", "algo"), SIX.values(), ids=SIX)
def test_a_whole_audit_has_a_fault_in_its_table(fault, algo, make_subject, monkeypatch):
    fault(monkeypatch, algo)
    failed = [a for a in run_probes(make_subject(*SMALL, f"algo={algo}")) if a.finding.status == FAIL]
    assert GRADIENT in {a.probe.question[: len(GRADIENT)] for a in failed}


OWN = "docs/extending/normalized_a2c.py"


@pytest.mark.parametrize(("line", "is_said"), [("/= self.scale", "policy + "), ("*= -1", "first step -1 policy")])
def test_a_learner_of_one_s_own_differs(line, is_said, make_subject, compose, monkeypatch, tmp_path):
    name = f"own_{'negative' if '-' in line else 'normalized'}_a2c"
    (tmp_path / f"{name}.py").write_text((ROOT / OWN).read_text().replace("/= self.scale", line))
    monkeypatch.syspath_prepend(tmp_path)
    subject = make_subject(*SMALL, "algo=a2c", own={"implementation": name, "name": name, "scale_decay": 0.5})
    answers = run_probes(subject)
    found = {a.probe.question: a.finding for a in answers}
    assert [a for a in answers if a.finding.status == FAIL] == []
    (gradient,) = (f for question, f in found.items() if question.startswith(GRADIENT))
    assert gradient.status == DIFFERS and is_said in gradient.found
    assert f"the learner is your own, of {name}" in gradient.found


def press_fire(lost: list[bool], ignored: list[bool]) -> SimpleNamespace:
    """A subject whose random play of one env lost lives, and ignored actions for a FIRE, in these steps."""
    no, env = np.array([False]), {"fire_on_life_loss": True, "life_loss": True}
    steps = [SimpleNamespace(terminated=np.array([one]), finished=no, valid=no) for one in lost]
    play = SimpleNamespace(
        transitions=steps, played=[np.array([1])] * len(lost), ignored=[np.array([one]) for one in ignored]
    )
    games = SimpleNamespace(close=lambda: None, action_names=["NOOP", "FIRE"])
    return SimpleNamespace(random_play=play, env=env, open_games=lambda: games)


@pytest.mark.parametrize(
    ("lost", "ignored", "status"),
    [
        ([True, False, True], [False, True, False], PASS),  # the last one is pressed in the next step
        ([True, False, False, False], [False, True, True, True], FAIL),
        ([True, False, False], [False, False, True], FAIL),
        ([True, False, False], [False, False, False], FAIL),
        ([False, False, False], [False, True, False], SKIPPED),
    ],
    ids=["once", "three times", "late", "never", "no life lost"],
)
def test_fire_is_counted_after_each_lost_life(lost, ignored, status):
    list_probes(set())
    (probe,) = (p for p in PROBES if p.question.startswith("FIRE is pressed once"))
    assert probe.answer(press_fire(lost, ignored)).status == status


@pytest.mark.parametrize(
    ("overrides", "questions"),
    [
        (("algo=ppo", "env=cue", "algo.num_envs=2", "algo.horizon=8"), ("policy and values equal",)),
        ((*SMALL, "algo=ppo", "model.init=torch"), ("first weights", "the first policy")),
    ],
    ids=["lstm", "other first weights"],
)
def test_a_probe_with_nothing_to_compare_does_not_pass(overrides, questions, make_subject):
    found = ask(make_subject(*overrides, "algo.minibatch_size=8"), *questions)
    assert {f.status for f in found.values()} == {SKIPPED} and len(found) == len(questions)


class Bytes(gymnasium.Env):
    """Eight bytes of memory as the observation, which networks scale like pixels; a seed decides nothing."""

    observation_space = gymnasium.spaces.Box(0, 255, (8,), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.arange(8, dtype=np.uint8), {}

    def step(self, action):
        self.t += 1
        return np.arange(8, dtype=np.uint8) * np.uint8(3 * self.t), float(action), self.t == 10, False, {}


gymnasium.register("Bytes-v0", Bytes, max_episode_steps=100)


@pytest.mark.parametrize(
    "overrides",
    [
        ("env.id=Bytes-v0", "model.hidden=[8]"),
        (f"{OWN_WORLDS}:Wide-v0", "model=minigrid_cnn", "model.hidden=8"),
        (f"{OWN_WORLDS}:Wide-v0", "model=minigrid_cnn", "model.hidden=8", "env.frame_stack=2", "model.zero_mean=true"),
        (f"{OWN_WORLDS}:Wide-v0", "model=mlp", "model.hidden=[8]", "model.shared_trunk=true"),
    ],
    ids=["bytes", "wide pictures", "stacks of them", "flattened pictures"],
)
def test_networks_of_bytes_and_of_pictures_that_are_not_square_are_compared(overrides, make_subject, monkeypatch):
    subject = make_subject("algo=ppo", "env=gymnasium", *SHORT, *overrides)
    (finding,) = ask(subject, SAME_NETWORK).values()
    assert finding.status == PASS, finding.found
    monkeypatch.setattr("probes.networks.scale_pixels", lambda torso, pixels: pixels.float() / 200)
    assert next(iter(ask(subject, SAME_NETWORK).values())).status == FAIL


def test_an_environment_without_chance_does_not_fail_because_seeds_play_the_same(make_subject):
    subject = make_subject("algo=ppo", "env=gymnasium", *SHORT, "env.id=Bytes-v0", "model.hidden=[8]")
    (finding,) = ask(subject, "the same seed plays the same games").values()
    assert finding.status == SKIPPED, finding.found


def test_other_frames_and_limits_than_those_that_were_set_are_found(make_subject, monkeypatch):
    subject, right = make_subject(*ASSAULT_OF_TWO), Subject.open_games
    questions = ("an agent step lasts", "a time limit is a truncation")
    assert {f.status for f in ask(subject, *questions).values()} <= {PASS, DIFFERS}

    def open_wrongly(self, num_envs=1, **rules):
        if "max_episode_frames" in rules:
            return right(self, num_envs, **rules | {"max_episode_frames": rules["max_episode_frames"] // 3})
        return right(self, num_envs, **rules, frameskip=2)

    monkeypatch.setattr(Subject, "open_games", open_wrongly)
    assert [f.status for f in ask(subject, *questions).values()] == [FAIL, FAIL]


def test_a_layer_that_is_not_the_paper_s_differs(make_subject):
    subject = make_subject(*ASSAULT_OF_TWO, "model.hidden=16")
    assert next(iter(ask(subject, "its layers are").values())).status == DIFFERS


def test_fire_at_the_start_is_found_with_sticky_actions_too(make_subject):
    subject = make_subject(*ASSAULT_OF_TWO, "env=breakout", "env.sticky=0.25", "model.hidden=16")
    assert next(iter(ask(subject, "FIRE is pressed at the start").values())).status == PASS


def test_microbatches_of_a_standardised_batch_are_measured_together(make_subject):
    words = ("algo=a2c", "algo.normalize_advantages=true", "algo.num_envs=4", "algo.microbatch_size=8")
    (finding,) = ask(make_subject(*SMALL, *words), "advantages have mean 0").values()
    assert finding.status == PASS, finding.found


def test_actions_that_are_the_same_by_chance_are_no_fault(make_subject, monkeypatch):
    subject = make_subject(*SMALL, "algo=a3c", "algo.num_workers=1", "algo.num_envs=1", "seed=7")
    question = "the same seed gives the same rollout"
    assert next(iter(ask(subject, question).values())).status == PASS
    monkeypatch.setattr(
        "rollouts.runner.seed_streams", lambda seed, worker, steps: streams.seed_streams(1, worker, steps)
    )
    assert next(iter(ask(subject, question).values())).status == FAIL


class Choiceless(Bytes):
    """The same with one action."""

    action_space = gymnasium.spaces.Discrete(1)


gymnasium.register("Choiceless-v0", Choiceless, max_episode_steps=100)


@pytest.mark.parametrize("algo", ["ppo", "pg"])
def test_an_environment_without_a_choice_fails_no_probe(algo, make_subject):
    short = ("algo.minibatch_size=16",) if algo == "ppo" else ("algo.num_envs=2", "algo.episodes_per_update=2")
    subject = make_subject(f"algo={algo}", "env=gymnasium", "env.id=Choiceless-v0", "model.hidden=[8]", *short)
    failed = [(a.probe.question, a.finding.found) for a in run_probes(subject) if a.finding.status == FAIL]
    assert failed == []


def test_an_agent_step_of_one_frame_has_no_maximum_to_compare(make_subject):
    subject = make_subject("algo=ppo", "env=assault", "env.frameskip=1", "model.hidden=8", *SHORT)
    (finding,) = ask(subject, "a picture is the maximum").values()
    assert finding.status == SKIPPED, finding.found


def test_a_stack_with_pictures_of_the_last_game_is_found(make_subject, monkeypatch):
    subject = make_subject("algo=ppo", "env=assault", "algo.num_envs=1", "algo.horizon=8", "algo.minibatch_size=8")
    assert next(iter(ask(subject, "a stack holds").values())).status == PASS
    monkeypatch.setattr(
        "algorithms.learner.stack_frames", lambda frames, resets, stack: stack_without_resets(frames, stack)
    )
    assert next(iter(ask(subject, "a stack holds").values())).status == FAIL


def stack_without_resets(frames: torch.Tensor, stack: int) -> torch.Tensor:
    """Return stacks as if no game had ended."""
    from rollouts.rollout import stack_frames

    return stack_frames(frames, torch.zeros(len(frames) - stack, frames.shape[1], dtype=torch.bool), stack)


def test_a_probe_that_raises_has_failed_and_the_others_go_on(make_subject, monkeypatch):
    subject = make_subject(*SMALL, "algo=ppo")

    def raise_error(subject):
        raise RuntimeError("broken")

    broken = Probe("returns", "is it broken?", "here", "nobody", frozenset(), raise_error)
    right = Probe("returns", "is it right?", "here", "nobody", frozenset(), lambda subject: Finding(PASS, "yes"))
    monkeypatch.setattr("audit.report.list_probes", lambda words: [broken, right])
    lines = []
    answers = run_probes(subject, lines.append)
    assert [a.finding.status for a in answers] == [FAIL, PASS] and "broken" in answers[0].finding.found
    assert count_answers(answers) == "2 probes: 1 pass, 0 differ, 1 fail"
    assert max(len(line) for text in lines for line in text.split("\n")) <= 80
    assert "[here]" in format_answer(answers[0]) and "[here]" not in format_answer(answers[1])


def test_the_table_has_a_row_for_every_probe():
    one = {"status": PASS, "subject": "loss", "question": "q", "found": "f", "others": "o", "code": "c"}
    content = {
        "title": "ppo on cartpole",
        "date": "2026-11-27",
        "commit": "",
        "checkpoint": None,
        "dtype": "float32",
        "answers": [one, one],
    }
    texts = format_files(content | {"answers": [one, one]}, "python run.py command=audit")
    assert texts["audit.md"].count("| PASS | loss: q | f | o | `c` |") == 2
    (*_, row) = format_files(content | {"answers": [one | {"found": "|mean| 1"}]}, "")["audit.md"].splitlines()
    assert len(re.findall(r"(?<!\\)\|", row)) == 6, row


@pytest.mark.parametrize(("max_updates", "trained"), [(1_000, range(200, 220)), (3, range(15, 60))])
def test_updates_of_few_agent_steps_are_trained_for_a_shorter_time(max_updates, trained, make_subject, monkeypatch):
    monkeypatch.setattr(run_probes_module, "MAX_UPDATES", max_updates)
    monkeypatch.setattr(run_probes_module, "CLEAR_KL", math.inf)
    one_worker = ("algo=a3c", "algo.num_workers=1", "algo.num_envs=1", "algo.horizon=5")
    (finding,) = ask(make_subject(*SMALL, *one_worker, agent_steps=200), MOVED).values()
    assert int(finding.found.split(" agent steps")[0]) in trained


@pytest.mark.parametrize(("lr", "status", "trained"), [(1e-2, PASS, range(16, 160)), (1e-6, DIFFERS, range(320, 480))])
def test_training_ends_when_the_policy_has_clearly_moved(lr, status, trained, make_subject):
    small = ("algo=a2c", "algo.optimizer=adam", "algo.num_envs=4", "algo.horizon=4", f"algo.lr={lr}")
    (finding,) = ask(make_subject(*SMALL, *small, agent_steps=320), MOVED).values()
    assert finding.status == status
    assert int(finding.found.split(" agent steps")[0]) in trained


@pytest.mark.parametrize(
    ("column", "status"), [("recent_return_mean", PASS), ("episode_return_mean", PASS), ("value_loss", FAIL)]
)
def test_a_number_that_is_missing_is_a_fault_unless_no_game_has_ended(column, status):
    row = {"entropy": 0.7, "value_loss": 1.0, "episodes": 0, column: float("nan")}
    assert run_probes_module.look_at_row(SimpleNamespace(last_row=row)).status == status


def test_random_play_is_of_the_shape_of_the_games(make_subject):
    play = make_subject(*SMALL, "algo=ppo").random_play
    assert np.stack(play.actions).shape == (len(play.transitions), 8) and ray.is_initialized()


@pytest.mark.end_to_end
def test_an_audit_of_an_experiment_is_typed(tmp_path):
    line = ["command=audit", "algo=ppo", "env=cartpole"]
    done = subprocess.run([sys.executable, ROOT / "run.py", *line], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs" / "audits").iterdir()
    content = json.loads((folder / "audit.json").read_text())
    assert len(content["answers"]) >= 25 and not [a for a in content["answers"] if a["status"] == FAIL]
    assert f"audit: {folder.relative_to(tmp_path) / 'audit.md'}" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_an_audit_needs_no_cluster_and_writes_below_output_dir(tmp_path, monkeypatch):
    plans, folders = [], []

    def open_ray(plan):
        plans.append(plan)
        raise Mistake("enough")

    monkeypatch.setattr("runs.ray_session.open_ray", open_ray)
    words = ["command=audit", "env=cartpole", "cluster=ray", f"output_dir={tmp_path}"]
    assert run.main(words) == 2 and plans[0].settings["cluster"]["address"] == "local"
    monkeypatch.setattr("audit.commands.run_audit", lambda *given: folders.append(given[3]) or 0)
    assert run.main(words) == 0 and folders[0].parent == tmp_path / "audits"
    (tmp_path / "a_file").touch()
    assert run.main([*words[:-1], f"output_dir={tmp_path}/a_file"]) == 2


def test_dqn_is_refused(capsys):
    assert run.main(["command=audit", "algo=dqn", "env=cartpole"]) == 2
    assert "pg, a2c, a3c and ppo" in capsys.readouterr().err


def test_settings_of_a_training_are_refused(capsys):
    for word in ("evaluate=true", "label=wide", "run=there", "way=greedy"):
        assert run.main(["command=audit", "env=cartpole", word]) == 2
    assert "an audit trains no run" in capsys.readouterr().err


def test_the_command_in_the_file_can_be_pasted_and_has_no_password(compose, monkeypatch):
    given: list = []
    monkeypatch.setattr("audit.commands.run_audit", lambda *words: given.extend(words) or 0)
    typed = ["python", "run.py", "output_dir=/tmp/a b", "cluster.address=ray://me:hunter2@host:10001"]
    assert audit(compose(["algo=a2c", "env=cartpole"]), typed) == 0
    words = shlex.split(given[-1])
    assert words[:3] == typed[:3] and "hunter2" not in given[-1]
