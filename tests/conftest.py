"""One Ray for the whole run, experiments composed as a user composes them, and the two ends of the data path."""

import copy
import functools
import os
import signal

os.environ["RAY_AUTH_MODE"] = "disabled"  # a test's Ray listens to nobody
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # as run.py has it; here torch would be loaded first

import pytest
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

import run
from cluster.plan import make_plan
from environments import threads
from environments.games import make_games
from runs.build import build_config

# A run heeds only signals that it was not started to ignore; what starts the tests in the background ignores some.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def shared_ray():
    """Ray, started once. Its four CPUs are only numbers: no test asks what the machine has."""
    ray.shutdown()  # of the one that RLlib starts, unasked, to find the GPU of a learner built without Ray
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


@functools.cache
def _composed(overrides: tuple[str, ...]) -> dict:
    return run.read_experiment(list(overrides))[0]


@pytest.fixture(scope="session")
def compose():
    """Overrides, as one types them -> checked settings, as run.py hands them on."""
    return lambda overrides=(): copy.deepcopy(_composed(tuple(overrides)))


@pytest.fixture(autouse=True)
def few_threads():
    """Small tensors gain nothing from a second thread."""
    torch.set_num_threads(1)


@pytest.fixture
def one_thread(monkeypatch):
    """What the suite builds in this process takes one thread too."""
    monkeypatch.setattr(threads, "count_threads", lambda: 1)


@pytest.fixture
def machine_with(monkeypatch):
    """Cores, and GPUs where they are given -> settings are checked and built as on such a machine."""

    def have(cpus: int, gpus: int | None = None) -> None:
        for file in ("cluster.plan", "cluster.capacity", "tune_searches.check"):
            monkeypatch.setattr(f"{file}.count_cpus", lambda: cpus)
        if gpus is not None:
            monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    return have


@pytest.fixture
def make_config(compose):
    """Overrides -> RLlib config; keywords set its attributes afterwards."""

    def make(*overrides: str, **attributes):
        config = build_config(make_plan(compose(overrides)))
        for name, value in attributes.items():
            setattr(config, name, value)
        return config

    return make


@pytest.fixture
def make_runner(make_config, one_thread):
    """Overrides -> a local VectorEnvRunner, without Ray around it."""
    runners = []

    def make(*overrides: str, **attributes):
        config = make_config(*overrides, **attributes)
        runners.append(config.env_runner_cls(config=config))
        return runners[-1]

    yield make
    for runner in runners:
        runner.stop()


@pytest.fixture
def make_learner(make_config, one_thread):
    """Overrides -> a built Learner, without Ray around it."""

    def make(*overrides: str, **attributes):
        config = make_config(*overrides, **attributes)
        games = make_games(config.env_config, 1, 1)
        games.close()
        return config.build_learner(spaces={DEFAULT_MODULE_ID: (games.observation_space, games.action_space)})

    return make
