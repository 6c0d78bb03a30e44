"""The directory of a small search that has ended, for tests of its result, its page and its promotion."""

import json

import pytest
import yaml

TRIALS = "trial,state,agent_steps,score,failure,algo.lr,algo.horizon\n"
TRIALS += "0,COMPLETE,1000,50.0,,0.001,32\n1,PRUNED,111,9.0,,0.1,64\n2,COMPLETE,1000,90.0,,0.002,64\n"
SEEDS = "name,stage,seed,score\ntrial 2,contender,2,70.0\n"
for seed in (3, 4, 5):
    SEEDS += (
        f"trial 2,fresh,{seed},{70 + 2 * seed}\ntrial 0,fresh,{seed},{60 + seed}\ndefault,fresh,{seed},{50 + seed}\n"
    )


@pytest.fixture
def searched(tmp_path, compose):
    """A search directory, as tune_searches/search.py leaves it."""
    folder = tmp_path / "searches" / "cartpole_ppo"
    (folder / "trials" / "0002").mkdir(parents=True)
    (folder / "trials.csv").write_text(TRIALS)
    (folder / "seeds.csv").write_text(SEEDS)
    settings = compose(["tune_searches=cartpole_ppo", "stop.agent_steps=30000", "search.trials=3"])
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    trial = {k: v for k, v in settings.items() if k != "search"} | {
        "algo": settings["algo"] | {"lr": 0.002, "horizon": 64}
    }
    (folder / "trials" / "0002" / "config.yaml").write_text(yaml.safe_dump(trial | {"command": "train"}))
    start = {
        "command": ["python", "run.py", "tune_searches=cartpole_ppo"],
        "git": {"commit": "0123456789", "dirty": False},
        "time": "2026-01-02T03:04:05+0000",
        "hardware": {"cpus": 2, "cpu": "a processor", "dtype": "bfloat16"},
    }
    (folder / "trials" / "0002" / "run.json").write_text(json.dumps({"starts": [start]}))
    later = start | {"command": ["python", "run.py", "resume=x"], "git": {"commit": "9876543210", "dirty": True}}
    (folder / "run.json").write_text(json.dumps({"starts": [start, later]}))
    return folder
