"""What is known of a logger before a run: it is refused within a second, with what to type."""

import subprocess
import sys

import pytest

import run
from experiments.composition import ROOT
from loggers.check import is_installed, refuse_unusable_loggers
from settings.mistakes import Mistake


@pytest.fixture(autouse=True)
def no_keys(monkeypatch, tmp_path):
    """Nobody has logged in, and nothing is set."""
    for name in (
        "WANDB_API_KEY",
        "WANDB_MODE",
        "WANDB_BASE_URL",
        "WANDB_IDENTITY_TOKEN_FILE",
        "WANDB_CONFIG_DIR",
        "MLFLOW_TRACKING_URI",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def installed(monkeypatch):
    """Both packages can be imported, as far as the check knows."""
    monkeypatch.setattr("loggers.check.is_installed", lambda package: True)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("null", None),
        ("[]", None),
        ("tensorboard", ["tensorboard"]),
        ("wandb", ["wandb"]),
        ("[tensorboard,mlflow]", ["tensorboard", "mlflow"]),
    ],
)
def test_one_logger_or_several_or_none_may_be_typed(typed, kept, compose):
    assert compose(["env=cartpole", f"logger={typed}"])["logger"] == kept
    assert compose(["env=cartpole"])["logger"] == ["tensorboard"]


@pytest.mark.parametrize("word", ["logger=wandbb", "logger=[tensorboard,neptune]", "logger=5", "logger=a,b"])
def test_a_logger_that_does_not_exist_is_refused_by_name(word, capsys):
    assert run.main(["env=cartpole", word]) == 2
    assert capsys.readouterr().err.startswith(("error: logger=", "error: logger"))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_package_that_is_not_installed_is_named_with_what_to_type(name, monkeypatch, tmp_path):
    monkeypatch.setattr("loggers.check.is_installed", lambda package: False)
    with pytest.raises(Mistake, match=rf"^logger={name}: .*pip install .*\[{name}\]"):
        refuse_unusable_loggers({"logger": ["tensorboard", name]})


def test_the_folder_that_wandb_leaves_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "no_such_package").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not is_installed("no_such_package") and is_installed("json")


def test_wandb_without_a_key_is_refused_and_with_one_is_not(installed, monkeypatch, tmp_path):
    with pytest.raises(Mistake, match="^logger=wandb: .*wandb login.*WANDB_MODE=offline"):
        refuse_unusable_loggers({"logger": ["wandb"]})
    for name, value in ("WANDB_API_KEY", "k"), ("WANDB_MODE", "offline"), ("WANDB_MODE", "disabled"):
        monkeypatch.setenv(name, value)
        refuse_unusable_loggers({"logger": ["wandb"]})
        monkeypatch.delenv(name)
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    refuse_unusable_loggers({"logger": ["wandb"]})
    (tmp_path / "settings").write_text("[default]\nbase_url = https://wandb.my.org\n")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))  # now it is another server
    with pytest.raises(Mistake, match="^logger=wandb"):
        refuse_unusable_loggers({"logger": ["wandb"]})
    monkeypatch.setenv("WANDB_BASE_URL", "https://api.wandb.ai")
    refuse_unusable_loggers({"logger": ["wandb"]})


def test_a_netrc_that_cannot_be_read_and_an_address_that_is_none_are_mistakes(installed, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_bytes("# clé\n".encode("latin-1"))
    with pytest.raises(Mistake, match="^logger=wandb: .*wandb login"):
        refuse_unusable_loggers({"logger": ["wandb"]})
    monkeypatch.setenv("WANDB_BASE_URL", "http://[::1")
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    with pytest.raises(Mistake, match=r"^logger=wandb: http://\[::1"):
        refuse_unusable_loggers({"logger": ["wandb"]})


def test_a_mode_that_wandb_does_not_know_is_refused(installed, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(Mistake, match="WANDB_MODE=ofline"):
        refuse_unusable_loggers({"logger": ["wandb"]})


def test_an_address_of_mlflow_without_http_is_refused(installed, monkeypatch):
    for address in ("", "http://127.0.0.1:5000", "sqlite:////tmp/mlflow.db", "/tmp/mlruns"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        refuse_unusable_loggers({"logger": ["mlflow"]})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "127.0.0.1:5000")
    with pytest.raises(Mistake, match="http://127.0.0.1:5000"):
        refuse_unusable_loggers({"logger": ["mlflow"]})


@pytest.mark.parametrize(
    "words", [["env=cartpole"], ["-m", "env=cartpole", "algo=a2c,ppo"], ["tune_searches=cartpole_ppo"]], ids=" ".join
)
def test_a_training_a_grid_and_a_search_are_refused_before_anything_heavy_is_imported(words, tmp_path):
    """torch and Ray take seconds; wandb, mlflow and tensorboardX are imported by nobody who did not ask for them."""
    script = (
        "import sys, loggers.check, run; loggers.check.is_installed = lambda package: False; "
        f"code = run.main({[*words, 'logger=wandb']}); "
        "print(code, {'torch', 'ray', 'wandb', 'mlflow', 'tensorboardX'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2 set()" and done.stderr.startswith("error: logger=wandb: ")


def test_a_driver_imports_neither_loggers_that_nobody_typed_nor_torch_and_rllib_which_its_processes_use():
    script = (
        "import sys, runs.train, runs.tuning, grids.grid, tune_searches.search; "
        "print({'wandb', 'mlflow', 'tensorboardX', 'torch', 'ray.rllib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
