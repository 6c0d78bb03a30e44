import csv
import json
import math
import sys
from pathlib import Path

import pytest
import yaml

from comparisons.commands import compare, find_run
from comparisons.comparison import compare_runs
from comparisons.files import write_comparison
from comparisons.overall import summarize_games
from comparisons.tables import list_arms
from evidence.human import Measurement
from grids.grid_directory import write_grid
from run_directory.starts import find_starts
from settings.mistakes import Mistake
from settings.protocols import PROTOCOLS

COLUMNS = ["agent_steps", "env_frames", "wall_time_s", "agent_steps_per_s", "episodes", "episode_return_mean"]
START = {
    "time": "2026-11-22T13:05:41+0000",
    "command": ["run.py", "algo=ppo", "seed=[1,2]", "model.dtype=bfloat16"],
    "overrides": [],
    "git": {"commit": "abc123", "dirty": True},
    "packages": {"ray": "2.60.0"},
    "python": "3.11.7",
    "hardware": {"cpu": "a fast one", "cpus": 2},
}


def write(groups, out):
    """Write the comparison of labelled directories."""
    comparisons = compare_runs(groups)
    write_comparison(comparisons, summarize_games(comparisons), out)


def write_run(run: Path, scores: list, *, seed=1, protocol="classic", dtype="bfloat16", starts=(START,)) -> Path:
    """A run of Assault that reported one score per 1000 agent steps and played 10 games between reports."""
    run.mkdir(parents=True)
    env = {"name": "assault", "game": "assault", "protocol": protocol} | PROTOCOLS[protocol]
    settings = {"seed": seed, "algo": {"name": "ppo"}, "env": env, "model": {"dtype": dtype}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    rows = [[1000 * i, 4000 * i, 2.0 * i, 500 + i**3, 10 * i, score] for i, score in enumerate(scores, 1)]
    lines = [",".join(map(str, row)) for row in [COLUMNS, *rows]]
    (run / "progress.csv").write_text("\n".join(lines) + "\n")
    (run / "run.json").write_text(json.dumps({"starts": list(starts)}))
    return run


@pytest.fixture(autouse=True)
def few_figures(request, monkeypatch):
    """Curves are drawn where a test asks for it."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("comparisons.files.draw_curves", lambda *_: None)


@pytest.fixture
def drawn():
    """Curves are drawn."""


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path) as file:
        return list(csv.DictReader(file))


def test_a_line_of_the_table_says_what_the_run_did(tmp_path):
    write_run(tmp_path / "run", [900, 300, 700, 444.8], seed=3)
    write([("bf16", tmp_path / "run")], tmp_path / "out")
    assert rows_of(tmp_path / "out" / "compare.csv") == [
        {
            "label": "bf16",
            "env": "assault",
            "seed": "3",
            "dtype": "bfloat16",
            "agent_steps": "4000",
            "episodes": "40",
            "last_100_mean": "444.8",
            "times_random": "2.0",  # 222.4 is random play
            "best_100_mean": "700.0",  # not 900, which rests on 10 games
            "wall_time_s": "8",
            "agent_steps_per_s": "518",
        }
    ]


def test_every_seed_of_a_parent_has_a_line_in_the_order_of_seeds(tmp_path):
    for seed in (10, 2):
        write_run(tmp_path / "parent" / f"seed_{seed}", [100 * seed] * 3, seed=seed)
    write_run(tmp_path / "other", [50] * 3)
    write([("a", tmp_path / "parent"), ("b", tmp_path / "other")], tmp_path / "out")
    lines = [(row["label"], row["seed"], row["last_100_mean"]) for row in rows_of(tmp_path / "out" / "compare.csv")]
    assert lines == [("a", "2", "200.0"), ("a", "10", "1000.0"), ("b", "1", "50.0")]


def test_the_text_has_the_commands_the_machine_and_where_the_numbers_beside_it_come_from(tmp_path):
    for seed in (1, 2):
        start = START | {"time": f"2026-11-22T13:05:4{seed}+0000", "overrides": [f"seed={seed}"]}
        write_run(tmp_path / "parent" / f"seed_{seed}", [300, 400, 500], seed=seed, starts=(start,))
    write([("bf16", tmp_path / "parent")], tmp_path / "out")
    text = (tmp_path / "out" / "compare.md").read_text()
    assert (
        text.count("run.py algo=ppo 'seed=[1,2]' model.dtype=bfloat16  # abc123, changed") == 1
    )  # once for both seeds
    for wanted in (
        "bf16 seed 1, bf16 seed 2",
        "cpu a fast one",
        "ray 2.60.0",
        "human 742.0",
        "human 1496.4",
        "classic",
    ):
        assert wanted in text
    assert "| bf16 | 2 | 500.0 | 500.0 to 500.0 of the geometric mean, 500.0 | 500.0 | 500.0 | 3,000 |" in text
    assert "| 3,000 |" in text
    starts = json.loads((tmp_path / "out" / "starts.json").read_text())
    start = {kind: START[kind] for kind in ("command", "git", "packages", "hardware")}
    assert starts == [{"runs": ["bf16 seed 1", "bf16 seed 2"], "starts": [start]}]


def test_latest_and_a_directory_above_runs_are_the_newest_run_as_for_other_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for hour, name in enumerate(("old", "new")):
        start = START | {"time": f"2026-11-22T1{hour}:00:00+0000"}
        write_run(tmp_path / "outputs" / "ppo" / "assault" / name, [1.0], starts=[start])
    newest = tmp_path / "outputs" / "ppo" / "assault" / "new"
    assert [find_run(path) for path in ("latest", "outputs/ppo", str(newest))] == [newest] * 3
    (tmp_path / "grid").mkdir()
    write_grid(tmp_path / "grid", [], [], "key", {"a": {"algo": "a2c"}})
    assert find_run("grid") == tmp_path / "grid"
    with pytest.raises(Mistake, match="no such directory"):
        find_run("elsewhere")


def test_a_label_may_have_signs_that_tables_and_figures_read(tmp_path):
    label, run = r"_a|b $\c$", write_run(tmp_path / "run", [1, 2])
    assert compare([(label, str(run))], str(tmp_path / "out")) == 0
    text, page = ((tmp_path / "out" / name).read_text() for name in ("compare.md", "compare.html"))
    assert r"| _a\|b $\c$ | assault |" in text and r"<td>_a|b $\c$</td><td>assault</td>" in page


def test_a_directory_that_is_not_there_is_named_before_slow_imports(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "comparisons.page", None)  # an import of it fails
    with pytest.raises(Mistake, match="no such directory"):
        compare([(None, str(tmp_path / "nowhere"))], None)


def test_arms_are_compared_by_their_seeds_and_one_seed_makes_no_interval(tmp_path):
    for seed in (1, 2):
        write_run(tmp_path / "a" / f"seed_{seed}", [1000.0 + seed] * 3, seed=seed)
        write_run(tmp_path / "b" / f"seed_{seed}", [500.0 + seed] * 3, seed=seed)
    write_run(tmp_path / "c", [1.0] * 3)
    [one] = compare_runs([(name, tmp_path / name) for name in "abc"])
    found = {(verdict.better, verdict.worse): verdict for verdict in one.verdicts}
    assert found["a", "b"].is_certain and found["a", "b"].effect == pytest.approx((1001 * 1002 / 501 / 502) ** 0.5)
    assert math.isnan(found["a", "c"].p) and not found["a", "c"].is_certain


def test_the_same_seeds_are_pairs_only_where_the_arms_share_their_random_streams(tmp_path):
    for dtype in ("bfloat16", "float32"):
        for seed in (1, 2, 3):
            write_run(tmp_path / dtype / f"seed_{seed}", [300.0, 100.0 * seed], seed=seed, dtype=dtype)
    groups = [(dtype, tmp_path / dtype) for dtype in ("bfloat16", "float32")]
    [one] = compare_runs(groups)
    assert [verdict.is_paired for verdict in one.verdicts] == [True]
    config = tmp_path / "float32" / "seed_1" / "config.yaml"
    settings = yaml.safe_load(config.read_text())
    for setting, paired in {"cpus": True, "num_env_runners": False}.items():
        config.write_text(yaml.safe_dump(settings | {"cluster": {setting: 7}}))
        assert [verdict.is_paired for verdict in compare_runs(groups)[0].verdicts] == [paired]
    config.write_text(yaml.safe_dump(settings | {"algo": {"name": "a2c"}}))
    [one] = compare_runs(groups)
    assert [verdict.is_paired for verdict in one.verdicts] == [False]
    assert one.differences["algo.name"] == {"bfloat16": "ppo", "float32": "a2c"}


def test_an_arms_interval_is_that_of_the_mean_which_the_verdicts_compare(tmp_path):
    for seed, score in enumerate([100.0, 400.0], 1):
        write_run(tmp_path / "a" / f"seed_{seed}", [score] * 3, seed=seed)
        write_run(tmp_path / "b" / f"seed_{seed}", [score - 100] * 3, seed=seed)
    arms = compare_runs([(name, tmp_path / name) for name in "ab"])[0].arms
    means, intervals = zip(*(row.split(" | ")[2:4] for row in list_arms(arms)[2:]), strict=True)
    assert means == ("250.0", "150.0") and "geometric" not in "".join(intervals), "b has a score of 0"
    row = list_arms({"a": arms["a"]})[-1]
    assert row.split(" | ")[2] == "250.0" and row.split(" | ")[3].endswith("geometric mean, 200.0")


def test_a_child_without_run_json_was_started_as_its_parent_was(tmp_path):
    child = write_run(tmp_path / "parent" / "seed_1", [300])
    (child / "run.json").rename(tmp_path / "parent" / "run.json")
    assert find_starts(child) == [START]


def test_a_run_of_unknown_origin_is_reported_all_the_same(tmp_path):
    (write_run(tmp_path / "run", [300, 400]) / "run.json").unlink()
    write([("a", tmp_path / "run")], tmp_path / "out")
    assert "not recorded" in (tmp_path / "out" / "compare.md").read_text()


def test_dtype_auto_is_what_the_run_made_of_it(tmp_path):
    start = START | {"hardware": {"dtype": "float32"}}
    write_run(tmp_path / "recorded", [300], dtype="auto", starts=(start,))
    write_run(tmp_path / "not", [300], dtype="auto")
    write_run(tmp_path / "asked for", [300], dtype="bfloat16", starts=(start,))
    write([(name, tmp_path / name) for name in ("recorded", "not", "asked for")], tmp_path / "out")
    assert [row["dtype"] for row in rows_of(tmp_path / "out" / "compare.csv")] == ["float32", "auto", "bfloat16"]


def test_a_long_curve_is_thinned_and_keeps_both_ends(tmp_path, drawn):
    write_run(tmp_path / "run", [float(i) for i in range(5000)])
    write([("a", tmp_path / "run")], tmp_path / "out")
    curve = rows_of(tmp_path / "out" / "curves.csv")
    assert len(curve) == 200
    assert [curve[i]["agent_steps"] for i in (0, -1)] == ["1000", "5000000"]
    assert [curve[i]["episode_return_mean"] for i in (0, -1)] == ["0", "4999"]
    assert all(int(point["agent_steps"]) == 1000 * (float(point["episode_return_mean"]) + 1) for point in curve)
    assert sum(path.stat().st_size for path in (tmp_path / "out").iterdir()) < 200_000


def test_a_row_that_a_killed_run_left_half_written_is_left_out(tmp_path):
    with open(write_run(tmp_path / "run", [300, 400]) / "progress.csv", "a") as file:
        file.write("3000,12000,6.0,503,30,9")  # of 999
    write([("a", tmp_path / "run")], tmp_path / "out")
    assert rows_of(tmp_path / "out" / "compare.csv")[0]["last_100_mean"] == "400.0"


@pytest.mark.parametrize("cell", ["", "nan", "inf"])
@pytest.mark.parametrize("column", ["wall_time_s", "agent_steps_per_s", "episodes"])
def test_a_row_without_a_number_that_every_row_has_is_damage(tmp_path, column, cell):
    path = write_run(tmp_path / "run", [1, 2]) / "progress.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    lines[2][COLUMNS.index(column)] = cell
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    with pytest.raises(Mistake, match=f"progress.csv is damaged: line 3, column {column}"):
        compare_runs([(None, tmp_path / "run")])


def test_a_run_in_which_no_game_has_ended_has_no_curve(tmp_path):
    write_run(tmp_path / "run", ["nan", "nan"])
    write([("a", tmp_path / "run")], tmp_path / "out")
    assert [row["episode_return_mean"] for row in rows_of(tmp_path / "out" / "curves.csv")] == ["", ""]
    assert rows_of(tmp_path / "out" / "compare.csv")[0]["last_100_mean"] == "nan"


def test_the_same_runs_give_the_same_files(tmp_path, drawn):
    write_run(tmp_path / "run", [300, 400, 500])
    for out in ("one", "two"):
        write([("a", tmp_path / "run")], tmp_path / out)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["compare.csv", "compare.md", "curves.csv", "curves.png", "starts.json"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_curves_show_every_seed_their_mean_random_play_and_both_humans(tmp_path, monkeypatch, drawn):
    figures = []
    monkeypatch.setattr("evidence.curves.plt.close", figures.append)
    for seed in (1, 2):
        write_run(tmp_path / "parent" / f"seed_{seed}", [300, 400 * seed], seed=seed)
    write([("bf16", tmp_path / "parent")], tmp_path / "out")
    axes = figures[0].axes[0]
    ends = [float(line.get_ydata()[-1]) for line in axes.lines if len(line.get_ydata())]
    assert ends == [400, 800, 600, 222.4, 742.0]  # 1,496.4 would squash them
    assert [float(line.get_xdata()[-1]) for line in axes.lines[:3]] == [2000] * 3
    assert any("1496.4" in text.get_text() for text in axes.get_legend().get_texts())


def mistake(*groups: tuple[str, Path]) -> str:
    """The sentence that a report is refused with."""
    with pytest.raises(Mistake) as caught:
        write(list(groups), groups[0][1].parent / "out")
    assert not (groups[0][1].parent / "out").exists()
    return str(caught.value)


def test_scores_of_two_protocols_have_tables_of_their_own(tmp_path):
    write_run(tmp_path / "a", [300])
    write_run(tmp_path / "b", [300], protocol="machado")
    found = compare_runs([("a", tmp_path / "a"), ("b", tmp_path / "b")])
    assert [list(one.arms) for one in found] == [["a"], ["b"]]
    assert [one.verdicts for one in found] == [[], []]


def test_one_seed_must_not_count_twice(tmp_path):
    write_run(tmp_path / "a", [300])
    assert str(tmp_path / "a") in mistake(("a", tmp_path / "a"), ("a", tmp_path / "a"))


def test_one_run_must_not_count_twice_under_two_labels(tmp_path):
    write_run(tmp_path / "a", [300])
    assert str(tmp_path / "a") in mistake(("x", tmp_path / "a"), ("y", tmp_path / "a"))


def test_a_seed_without_rows_is_left_out_and_named(tmp_path, capsys):
    for seed in (1, 2):
        write_run(tmp_path / "a" / f"seed_{seed}", [300], seed=seed)
    (tmp_path / "a" / "seed_2" / "progress.csv").unlink()
    [one] = compare_runs([("a", tmp_path / "a")])
    assert [run.settings["seed"] for run in one.runs] == [1]
    assert str(tmp_path / "a" / "seed_2") in capsys.readouterr().err


def test_a_run_that_has_reported_nothing_is_a_mistake(tmp_path):
    (write_run(tmp_path / "a", []) / "progress.csv").unlink()
    assert "no rows yet" in mistake(("a", tmp_path / "a"))


def test_runs_without_a_label_are_named_after_what_they_are_and_seeds_of_one_kind_are_one_group(tmp_path):
    for seed, dtype in ((1, "bfloat16"), (2, "bfloat16"), (1, "float32")):
        write_run(tmp_path / f"{dtype}_{seed}", [300, 400], seed=seed, dtype=dtype)
    write_run(tmp_path / "other", [300, 400])
    names = ("bfloat16_1", "bfloat16_2", "float32_1")
    write([*((None, tmp_path / name) for name in names), ("mine", tmp_path / "other")], tmp_path / "out")
    labels = [row["label"] for row in rows_of(tmp_path / "out" / "compare.csv")]
    assert labels == ["ppo assault dtype=bfloat16"] * 2 + ["ppo assault dtype=float32", "mine"]


def test_a_mean_over_fewer_than_100_games_is_marked(tmp_path):
    write_run(tmp_path / "few", [300.0] * 9)
    write_run(tmp_path / "enough", [300.0] * 10)
    write([("few", tmp_path / "few"), ("enough", tmp_path / "enough")], tmp_path / "out")
    lines = (tmp_path / "out" / "compare.md").read_text().splitlines()
    few, enough = (next(line for line in lines if line.startswith(f"| {arm} | assault ")) for arm in ("few", "enough"))
    assert "| 300.0 (90 games) |" in few and "| 300.0 |" in enough and "games" not in enough


def test_losses_and_speed_have_curves_beside_the_score(tmp_path, monkeypatch, drawn):
    figures = []
    monkeypatch.setattr("evidence.curves.plt.close", figures.append)
    run = write_run(tmp_path / "run", [300, 400])
    header, *rows = (run / "progress.csv").read_text().splitlines()
    lines = [f"{header},policy_loss", *(f"{row},0.{i}" for i, row in enumerate(rows, 1))]
    (run / "progress.csv").write_text("\n".join(lines) + "\n")
    write([("a", run)], tmp_path / "out")
    assert [row["policy_loss"] for row in rows_of(tmp_path / "out" / "curves.csv")] == ["0.1", "0.2"]
    assert "value_loss" not in rows_of(tmp_path / "out" / "curves.csv")[0]
    drawn = {axes.get_title(): [list(line.get_ydata()) for line in axes.lines[:1]] for axes in figures[0].axes[1:]}
    assert drawn == {"policy loss": [[0.1, 0.2]], "value loss": [], "entropy": [], "agent steps/s": [[501, 508]]}


def test_runs_of_two_environments_are_kept_apart_whatever_an_earlier_version_called_them(tmp_path):
    for env_id in ("CartPole-v1", "Acrobot-v1"):
        run = write_run(tmp_path / env_id, [1, 2, 3])
        settings = yaml.safe_load((run / "config.yaml").read_text())
        env = {"name": "cartpole", "id": env_id, "frameskip": 1, "clip_rewards": False}
        (run / "config.yaml").write_text(yaml.safe_dump(settings | {"env": env}))
    found = compare_runs([("a", tmp_path / "CartPole-v1"), ("b", tmp_path / "Acrobot-v1")])
    assert [one.env["name"] for one in found] == ["cartpole", "Acrobot-v1"]


def test_a_grid_stands_for_its_arms(tmp_path):
    for arm in ("a2c", "ppo"):
        write_run(tmp_path / arm, [300, 400])
    write_grid(tmp_path, [], [], "x", {arm: {"algo": arm} for arm in ("a2c", "ppo", "not_begun")})
    [one] = compare_runs([(None, tmp_path)])
    assert list(one.arms) == ["a2c", "ppo"]


def test_a_comparison_that_cannot_be_saved_is_printed_and_the_exit_code_says_so(tmp_path, capsys, monkeypatch):
    run = write_run(tmp_path / "run", [900, 300, 700, 444.8])
    in_the_way = tmp_path / "out"
    in_the_way.write_text("")
    assert compare([(None, str(run))], str(in_the_way)) == 1
    captured = capsys.readouterr()
    assert "444.8" in captured.out and str(in_the_way) in captured.err
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    assert compare([(None, str(run))], str(tmp_path / "elsewhere")) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_random_play_is_the_measured_one_of_the_runs_protocol_and_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "evidence.human.RANDOM_PLAY", {("assault", "classic"): Measurement(100.0, 1.5, 1000, "2026-11-26")}
    )
    for frameskip, protocol, times in ((4, "classic", "4.45"), (4, "machado", "2.0"), (1, "classic", "2.0")):
        run = write_run(tmp_path / f"{protocol}_{frameskip}", [900, 444.8], protocol=protocol)
        config = run / "config.yaml"
        settings = yaml.safe_load(config.read_text())
        config.write_text(yaml.safe_dump(settings | {"env": settings["env"] | {"frameskip": frameskip}}))
        write([("run", run)], tmp_path / "out")
        assert rows_of(tmp_path / "out" / "compare.csv")[0]["times_random"] == times
        named = "measured under classic, 1,000 games" if times == "4.45" else "222.4, Wang et al. 2016, under"
        written = (tmp_path / "out" / "compare.md").read_text()
        assert named in written and "Wang et al. 2016, under the rules of that paper: random play 222.4" in written


def test_a_comparison_goes_into_a_folder_of_its_own_where_none_is_named(tmp_path, capsys, monkeypatch, drawn):
    monkeypatch.chdir(tmp_path)
    assert compare([(None, str(write_run(tmp_path / "run", [300, 400])))], None) == 0
    [out] = Path("outputs/comparisons").iterdir()
    assert str(out) in capsys.readouterr().out
    assert rows_of(out / "compare.csv")[0]["label"] == "ppo assault"
    page = (out / "compare.html").read_text()
    assert page.count("<svg") == 2 and "ppo assault" in page and "__" not in page.split("</style>")[1][:100]
