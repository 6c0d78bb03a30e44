"""Files of a run and of a search, damaged in every way there is: evaluate, resume, compare and promote answer in one
sentence with exit code 2, or come to the results they would have had.

One thing cannot be told: a bit that makes a digit of a text file another digit. Checkpoints have checksums for that.
"""

import copy
import json
import os
import shutil

import numpy as np
import pytest
import torch
import yaml

import run as command_line
from custom_models.actor_critic import ActorCritic
from environments.games import make_games
from pages.search_page import write_page
from run_directory.layout import MODULE_STATE, PROGRESS_JSON
from run_directory.manifest import write_manifest
from run_directory.starts import write_start
from run_directory.weights import write_weights
from settings.mistakes import Mistake
from tune_searches.space import parse_space
from tune_searches.study import Study
from tuned_configs.promotion import promote_winner

pytestmark = pytest.mark.slow
COLUMNS = "agent_steps,env_frames,wall_time_s,episodes,episode_return_mean,agent_steps_per_s,loss\n"
WORDS = ["env=cartpole", "model.hidden=[4]", "stop.agent_steps=10000"]
TEXT = ("config.yaml", "run.json", "progress.csv", "trials.csv", "seeds.csv")


class RayWouldStart(Exception):
    """Everything was found to be whole enough to train on."""


@pytest.fixture(autouse=True)
def no_ray(monkeypatch, one_thread):
    def refuse(*_, **__):
        raise RayWouldStart

    monkeypatch.setattr("runs.train.open_ray", refuse)
    monkeypatch.setattr("tune_searches.search.open_ray", refuse)
    monkeypatch.setattr("comparisons.files.draw_curves", lambda *_: None)
    monkeypatch.setattr("comparisons.page.write_page", lambda *_: None)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory, compose):
    """A run directory with one checkpoint, without the training."""
    run, settings = tmp_path_factory.mktemp("whole") / "run", compose(WORDS)
    run.mkdir()
    write_start(run, settings, ["python", "run.py", *WORDS], WORDS, "float32")
    rows = [f"{1000 * i},{1000 * i},{i}.5,{30 * i},{20 + i}.0,900.0,0.1\n" for i in range(1, 6)]
    (run / "progress.csv").write_text(COLUMNS + "".join(rows))
    games = make_games(settings["env"], 1, 1)
    spaces = {"observation_space": games.observation_space, "action_space": games.action_space}
    games.close()
    torch.manual_seed(1)
    last = run / "checkpoints" / "last"
    ActorCritic(**spaces, model_config=settings["model"] | {"dtype": "float32"}).save_to_path(
        (last / MODULE_STATE).parent
    )
    (last / "algorithm_state.pkl").write_bytes(bytes(range(256)) * 4)
    totals = {"agent_steps": 5000, "env_frames": 5000, "wall_time_s": 5.5, "episodes": 150, "episode_return_mean": 25.0}
    (last / PROGRESS_JSON).write_text(json.dumps(totals))
    write_weights(last)
    write_manifest(last)
    return run


@pytest.fixture(scope="module")
def whole_search(tmp_path_factory, compose):
    """A search directory: three trials have ended, and fresh seeds have been played."""
    words = ["tune_searches=cartpole_ppo", "stop.agent_steps=30000", "search.trials=3"]
    folder, settings = tmp_path_factory.mktemp("whole") / "search", compose(words)
    folder.mkdir()
    write_start(folder, settings, ["python", "run.py", *words], words, "float32")
    study = Study(settings, parse_space(settings["search"]["space"], settings), folder)
    table = ["trial,state,agent_steps,score,failure," + ",".join(p.key for p in study.space)]
    for _ in range(3):
        number, values = study.ask()
        path = folder / "trials" / f"{number:04d}"
        path.mkdir(parents=True)
        trial = copy.deepcopy({k: v for k, v in settings.items() if k != "search"})
        for key, value in values.items():
            group, _, name = key.partition(".")
            trial[group][name] = value
        write_start(path, trial | {"command": "train"}, ["python", "run.py"], words, "float32")
        (path / "progress.csv").write_text(COLUMNS + "30000,30000,9.5,300,70.0,900.0,0.1\n")
        state = study.tell(number, 30000, (70.0, 71.0, 60.0)[number]).name
        table.append(f"{number},{state},30000,{(70.0, 71.0, 60.0)[number]},," + ",".join(map(str, values.values())))
    (folder / "trials.csv").write_text("\n".join(table) + "\n")
    seeds = [f"{name},fresh,{seed},{score + seed}" for seed in (3, 4, 5) for name, score in SCORES.items()]
    (folder / "seeds.csv").write_text("\n".join(["name,stage,seed,score", *seeds]) + "\n")
    return folder


SCORES = {"trial 1": 80, "trial 0": 70, "default": 50}


def damages(name: str, data: bytes) -> dict[str, bytes]:
    """What can become of a file, by name."""
    made = {"emptied": b"", "cut": data[: len(data) * 2 // 3], "NUL bytes": bytes(len(data))}
    rng = np.random.default_rng(len(data))
    for position in rng.integers(0, len(data), 3):
        flipped = bytearray(data)
        flipped[position] ^= 0x80 if name in TEXT else 1 << int(rng.integers(8))
        made[f"a bit flipped at {position}"] = bytes(flipped)
    if name.endswith((".yaml", ".json")):
        loaded = yaml.safe_load(data) if name.endswith(".yaml") else json.loads(data)
        dump = yaml.safe_dump if name.endswith(".yaml") else json.dumps
        for other in ([7], 7, {}, None, "words"):
            made[f"{other!r} as all of it"] = (dump(other) + "\n").encode()
        for path in places(loaded):
            for other in ([7], {"x": None}, "words"):
                made[f"{other!r} at {path}"] = (dump(replaced(loaded, path, other), sort_keys=False) + "\n").encode()
    if name.endswith(".csv"):
        header, first, *rest = data.decode().splitlines()
        for column in range(len(first.split(","))):
            cells = first.split(",")
            cells[column] = "words"
            made[f"words in column {column}"] = "\n".join([header, ",".join(cells), *rest, ""]).encode()
        made["a cell too few"] = "\n".join([header, first.rpartition(",")[0], *rest, ""]).encode()
        made["no header"] = "\n".join([first, *rest, ""]).encode()
    return made


def places(value, path=()) -> list[tuple]:
    """Of everything in nested mappings and lists, four levels deep."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [(*path, key) for key, _ in inner]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [p for key, v in inner if len(path) < 3 for p in places(v, (*path, key))]


def replaced(value, path: tuple, other):
    """A copy with something else at a place."""
    result = copy.deepcopy(value)
    at = result
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = other
    return result


def put(path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def answer(what, capsys) -> tuple[int, str]:
    """Exit code and what was printed; 0 where Ray would have been started."""
    capsys.readouterr()
    try:
        code = what()
    except RayWouldStart:
        code = 0
    except Mistake as mistake:
        return 2, str(mistake)
    printed = capsys.readouterr()
    if code == 2:
        assert printed.err.startswith("error: ") and printed.err.count("\n") == 1, printed.err
        return 2, printed.err
    return code, printed.out


def scores_of(run) -> list:
    result = json.loads((run / "checkpoints" / "evaluation_last_2_games.json").read_text())
    return [result[way]["scores"] for way in ("stochastic", "greedy")]


def evaluated(run):
    return lambda: command_line.main(["command=evaluate", f"run={run}", "episodes=2"])


def resumed(run):
    return lambda: command_line.main([f"resume={run}"])


def compared(run):
    return lambda: command_line.main(["command=compare", f"runs={{a:{run}}}", f"out={run.parent / 'out'}"])


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "progress.csv"])
def test_a_damaged_file_of_a_run_is_named_or_changes_nothing(name, whole_run, tmp_path, capsys, monkeypatch):
    run = shutil.copytree(whole_run, tmp_path / "run")
    assert [answer(what(run), capsys)[0] for what in (evaluated, resumed, compared)] == [0, 0, 0]
    scores, table = scores_of(run), (tmp_path / "out" / "compare.csv").read_text()
    whole = (run / name).read_bytes()
    every = damages(name, whole)
    chosen = np.random.default_rng(0).permutation(len(every))[:25]
    for how in [how for i, how in enumerate(every) if i in chosen or " at (" not in how]:
        put(run / name, every[how])
        for what in (evaluated, resumed, compared):
            code, said = answer(what(run), capsys)
            assert code in (0, 2), f"{name}, {how}: {said}"
            if code == 0 and name != "config.yaml" and what is evaluated:
                assert scores_of(run) == scores, f"{name}, {how}"
            if code == 0 and name == "run.json" and what is compared:
                assert (tmp_path / "out" / "compare.csv").read_text().count("\n") == table.count("\n")
            if code == 2 and what is not resumed:  # what resume refuses may be a value, by its setting
                assert name in said, f"{name}, {how}: {said}"
        put(run / name, whole)


def link_to_itself(path):
    path.symlink_to(path)


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "progress.csv"])
@pytest.mark.parametrize("kind", ["pipe", "link to itself", "directory"])
def test_what_is_no_file_is_named_and_not_waited_for(kind, name, whole_run, tmp_path, capsys):
    run = shutil.copytree(whole_run, tmp_path / "run")
    (run / name).unlink()
    make = {
        "pipe": os.mkfifo,
        "link to itself": lambda path: path.symlink_to(path),
        "directory": lambda path: path.mkdir(),
    }
    make[kind](run / name)
    for what in (resumed, compared):
        code, said = answer(what(run), capsys)
        assert code == 2 and name in said, said


def test_a_damaged_file_of_a_checkpoint_is_named_and_nothing_is_played(whole_run, tmp_path, capsys):
    run = shutil.copytree(whole_run, tmp_path / "run")
    last = run / "checkpoints" / "last"
    for path in sorted(path for path in last.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        for how, data in damages(path.name, whole).items():
            if data == whole:
                continue
            put(path, data)
            for what in (evaluated, resumed) if how == "emptied" else (evaluated,):
                code, said = answer(what(run), capsys)
                assert code == 2, f"{path.name}, {how}: {said}"
                assert str(last) in said or str(run) in said
            put(path, whole)
    assert answer(evaluated(run), capsys)[0] == 0


@pytest.mark.parametrize("name", ["trials.csv", "seeds.csv"])
def test_a_table_of_a_search_that_was_emptied_is_not_blamed_on_the_other_one(name, whole_search, tmp_path, capsys):
    folder = shutil.copytree(whole_search, tmp_path / "search")
    put(folder / name, b"")
    code, said = answer(lambda: command_line.main(["command=promote", f"run={folder}"]), capsys)
    other = {"trials.csv": "seeds.csv", "seeds.csv": "trials.csv"}[name]
    assert code == 2 and other not in said


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "trials.csv", "seeds.csv", "study.db"])
def test_a_damaged_file_of_a_search_is_named_or_changes_nothing(name, whole_search, tmp_path, capsys):
    folder, into = shutil.copytree(whole_search, tmp_path / "search"), tmp_path / "tuned_configs"

    def promoted() -> int:
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        promote_winner(folder, into)
        return 0

    assert answer(promoted, capsys)[0] == 0 and answer(resumed(folder), capsys)[0] == 0
    (made,) = into.iterdir()
    settings, whole = made.read_text().rpartition("\n# How")[2], (folder / name).read_bytes()
    every = damages(name, whole)
    chosen = np.random.default_rng(0).permutation(len(every))[:25]
    for how in [how for i, how in enumerate(every) if i in chosen or " at (" not in how]:
        put(folder / name, every[how])
        for what in (promoted, resumed(folder)):
            code, said = answer(what, capsys)
            assert code in (0, 2), f"{name}, {how}: {said}"
            if code == 0 and what is promoted:
                assert made.read_text().rpartition("\n# How")[2] == settings, f"{name}, {how}"
        if name.endswith(".csv"):
            try:
                write_page(folder)
            except Mistake as mistake:
                assert name in str(mistake) or "no trials.csv" in str(mistake)
        put(folder / name, whole)


@pytest.mark.parametrize("name", ["config.yaml", "run.json", "progress.csv"])
def test_a_damaged_file_of_a_trial_ends_a_search_that_goes_on_before_ray_starts(name, whole_search, tmp_path, capsys):
    folder = shutil.copytree(whole_search, tmp_path / "search")
    path = folder / "trials" / "0002" / name
    put(path, path.read_bytes()[: len(path.read_bytes()) // 2] + b"\xff\n")
    code, said = answer(resumed(folder), capsys)
    assert code == 2 and str(path) in said


def test_a_misspelt_seed_is_named(whole_run, tmp_path, capsys):
    run = shutil.copytree(whole_run, tmp_path / "run")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    put(run / "config.yaml", yaml.safe_dump({"sede" if k == "seed" else k: v for k, v in settings.items()}).encode())
    for what in (evaluated, resumed, compared):
        code, said = answer(what(run), capsys)
        assert code == 2 and "seed" in said


def test_what_was_typed_is_a_list_of_words(whole_run, tmp_path, capsys):
    run = shutil.copytree(whole_run, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    record["starts"][0]["overrides"] = [7]
    put(run / "run.json", json.dumps(record).encode())
    code, said = answer(resumed(run), capsys)
    assert code == 2 and "overrides" in said and "run.json" in said
