"""The page of a search: whole, without network, and of the same numbers as its tables."""

import csv
import re
import shutil
import subprocess

import numpy as np
import pytest
import yaml

from pages.search_figures import (
    draw_importance,
    draw_parallel,
    list_phases,
    read_seeds,
    scale_values,
    sort_choices,
    trace_weights,
)
from pages.search_page import write_page
from run_directory.searches import read_trials
from settings.mistakes import Mistake

SPACE = {
    "algo.lr": {"loguniform": [1e-4, 1e-2]},
    "algo": {"gamma": {"one_minus_loguniform": [0.01, 0.1]}},
    "algo.horizon": {"choice": [64, 128]},
    "algo.optimizer_eps": {"uniform": [0, 1], "when": {"algo.horizon": 64}},
}
TRIALS = "trial,state,agent_steps,score,failure,algo.lr,algo.gamma,algo.horizon,algo.optimizer_eps\n"
TRIALS += "0,COMPLETE,1000,50.0,,0.001,0.99,64,0.5\n1,PRUNED,111,99.0,,0.0001,0.9,128,\n"
TRIALS += "2,COMPLETE,1000,90.0,,0.002,0.95,128,\n3,FAIL,0,,<broken>,0.005,0.95,64,0.1\n"
SEEDS = "name,stage,seed,score\ntrial 2,fresh,3,80.0\ntrial 2,fresh,4,70.0\n"
SEEDS += "default,fresh,3,60.0\ndefault,fresh,4,65.0\n"


@pytest.fixture
def searched(tmp_path):
    settings = {
        "search": {"name": "a <search>", "space": SPACE},
        "algo": {"name": "ppo"},
        "env": {"name": "cartpole"},
        "stop": {"agent_steps": 1000},
        "seed": 1,
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (tmp_path / "trials.csv").write_text(TRIALS)
    for number in (0, 1, 2):
        path = tmp_path / "trials" / f"{number:04d}"
        path.mkdir(parents=True)
        (path / "progress.csv").write_text("agent_steps,wall_time_s,episode_return_mean\n100,1.0,5.0\n1000,9.0,50.0\n")
    return tmp_path


def test_the_page_asks_no_network_and_runs_nothing(searched):
    page = write_page(searched).read_text()
    assert "<script" not in page and "<link" not in page and "<img" not in page
    loaded = re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?([^\"')\s>]+)", page)
    assert all(target.startswith("#") for target in loaded), loaded
    assert "a &lt;search&gt;" in page and "a <search>" not in page


def test_the_page_tells_the_trials_and_who_was_best(searched):
    page = write_page(searched).read_text()
    assert re.search("4 trials .*1,000 agent steps.* 2 complete, 1 stopped early, 1 failed", page)
    assert "The best score, 90.0, is trial 2" in page
    assert "<td>1</td><td>stopped early</td><td>111</td><td>99.0</td><td>0.0001</td><td>0.9</td><td>128</td>" in page
    for title in ("Score of", "Curves", "Scores over", "What a score"):
        assert f"<h2>{title}" in page
    assert "Hollow: stopped early" in page and "seems to matter</h2>" in page and "too few" in page
    assert "<td>default</td>" not in page and "too good" in page  # nothing was played on fresh seeds


def test_a_choice_of_null_is_a_value_and_every_end_is_counted(searched):
    settings = yaml.safe_load((searched / "config.yaml").read_text())
    settings["search"]["space"] = {"algo.max_grad_norm": {"choice": [None, 0.5]}}
    (searched / "config.yaml").write_text(yaml.safe_dump(settings))
    cells = [(f"{n},COMPLETE", "0.5" if n % 2 else "null") for n in range(6)] + [
        ("6,WAITING", ""),
        ("7,UNFINISHED", ""),
    ]
    rows = [f"{start},1000,{n}.0,,{cell}" for n, (start, cell) in enumerate(cells)]
    (searched / "trials.csv").write_text(
        "\n".join(["trial,state,agent_steps,score,failure,algo.max_grad_norm", *rows, ""])
    )
    page = write_page(searched).read_text()
    assert "over 6 complete trials" in page and "<td>null</td>" in page
    assert "6 complete, 2 not finished." in page and "WAITING" not in page


def test_fresh_seeds_come_first_where_they_were_played(searched):
    (searched / "seeds.csv").write_text(SEEDS)
    page = write_page(searched).read_text()
    assert "On fresh seeds" in page and re.search(r"trial 2 \w+ 15\.0 less", page)
    assert "<td>trial 2</td><td>90.0</td><td>75.0</td><td>+12.5" in page


def test_the_same_search_gives_the_same_page(searched):
    assert write_page(searched).read_text() == write_page(searched).read_text()


def test_importance_is_of_complete_trials_and_finds_what_matters(searched):
    space = {"algo.lr": "loguniform", "algo.gamma": "one_minus_loguniform"}
    rows = [f"{n},COMPLETE,1000,{n % 10},,{1e-4 * 10 ** (n % 10 / 5)},{0.9 + (n * 7 % 11) / 111}" for n in range(40)]
    (searched / "trials.csv").write_text(
        "\n".join(["trial,state,agent_steps,score,failure,algo.lr,algo.gamma", *rows, ""])
    )
    svg = draw_importance(read_trials(searched), space)
    names = re.findall(r">(algo\.\w+)<", svg)
    assert names == ["algo.gamma", "algo.lr"]  # from the bottom up
    assert draw_importance(read_trials(searched)[:3], space) == ""


def test_a_setting_that_not_every_trial_has_hides_no_trial(searched):
    """Adam scores 300 more, and has no eps of its own: what the choice is worth is seen, and nothing hides it."""
    space = {"algo.optimizer": "choice", "algo.lr": "loguniform", "algo.optimizer_eps": "loguniform"}
    rows = [
        f"{n},COMPLETE,1000,{300 * (n % 2) + n * 7 % 5},,{'adam' if n % 2 else 'rmsprop'},{1e-4 * 2 ** (n * 5 % 7)},"
        + ("" if n % 2 else str(1e-5 * 2 ** (n % 8)))
        for n in range(24)
    ]
    header = "trial,state,agent_steps,score,failure,algo.optimizer,algo.lr,algo.optimizer_eps"
    (searched / "trials.csv").write_text("\n".join([header, *rows, ""]))
    svg = draw_importance(read_trials(searched), space)
    assert re.findall(r">(algo\.\w+)<", svg)[-1] == "algo.optimizer" and "24 complete trials" in svg
    assert draw_parallel(read_trials(searched), space).count(">algo.") == 2


def test_a_few_trials_say_what_matters_when_nothing_else_does(searched):
    """Not the values of the one best trial alone, which of four settings are as likely to be rare."""
    rng, first = np.random.default_rng(0), 0
    for _ in range(20):
        values = rng.random((9, 4))
        rows = [f"{n},COMPLETE,1000,{own[0]},,{','.join(map(str, own))}" for n, own in enumerate(values)]
        keys = [f"algo.s{i}" for i in range(4)]
        (searched / "trials.csv").write_text(
            "\n".join([",".join(["trial,state,agent_steps,score,failure", *keys]), *rows, ""])
        )
        svg = draw_importance(read_trials(searched), dict.fromkeys(keys, "uniform"))
        first += re.findall(r">(algo\.\w+)<", svg)[-1] == "algo.s0"
    assert first >= 14  # with the best trial alone about 11


def test_a_trial_of_two_seeds_has_two_curves_and_the_time_of_both(searched):
    trial, rows = searched / "trials" / "0001", "agent_steps,wall_time_s,episode_return_mean\n100,1.5,3\n200,3.0,4\n"
    for seed in (1, 2):
        (trial / f"seed_{seed}").mkdir(parents=True)
        (trial / f"seed_{seed}" / "progress.csv").write_text(rows)
    found = read_seeds(searched, read_trials(searched)[1], ("agent_steps", "wall_time_s"))
    assert [list(one["agent_steps"]) for one in found] == [[100, 200]] * 2
    assert write_page(searched).exists()


def test_choices_and_logarithms_stand_where_they_belong():
    assert sort_choices([128.0, "none", 64.0, 128.0]) == [64.0, 128.0, "none"]
    assert scale_values([1e-4, 1e-2, 1e-3], "loguniform").tolist() == pytest.approx([0, 1, 0.5])
    assert scale_values([128.0, 64.0], "choice").tolist() == [1, 0] and scale_values(
        [3.0, 3.0], "uniform"
    ).tolist() == [0.5, 0.5]


SCHEDULE = "generation,agent_steps,trial,donor,algo.lr\n0,0,0,,0.001\n0,0,1,,0.002\n0,0,2,,0.003\n"
SCHEDULE += "1,400,2,0,0.0012\n2,800,1,2,0.0014\n2,800,0,2,0.0016\n"


def test_a_population_shows_what_its_best_was_trained_with(searched):
    steps = list(csv.DictReader(SCHEDULE.splitlines()))
    assert [(start, stop, row["algo.lr"]) for start, stop, row in trace_weights(steps, 1, 1000)] == [
        (0, 400, "0.001"),
        (400, 800, "0.0012"),
        (800, 1000, "0.0014"),
    ]
    assert [(start, stop) for start, stop, _ in list_phases(steps, 0, 1000)] == [(0, 800), (800, 1000)]
    (searched / "schedule.csv").write_text(SCHEDULE)
    settings = yaml.safe_load((searched / "config.yaml").read_text())
    settings["search"]["space"] = {"algo.lr": {"loguniform": [1e-4, 1e-2]}}
    (searched / "config.yaml").write_text(yaml.safe_dump(settings))
    page = write_page(searched).read_text()
    assert "<h2>Settings on" in page and "seems to matter</h2>" not in page and "<h2>Scores over" not in page
    assert "no point" in page and "too good" not in page


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
def test_a_browser_shows_the_page_without_network(searched):
    """What Chromium makes of it: every figure and table laid out, nothing fetched, nothing wider than the window."""
    (searched / "seeds.csv").write_text(SEEDS)
    page = write_page(searched)
    probe = searched / "probe.html"  # the page in a frame, and what can be seen of it in words
    script = (
        "const d = document.querySelector('iframe').contentDocument, boxes = [...d.querySelectorAll('svg, table')];"
        "const seen = boxes.map(e => e.getBoundingClientRect()).filter(r => r.width > 300 && r.height > 30).length;"
        "const got = performance.getEntriesByType('resource').concat("
        "document.querySelector('iframe').contentWindow.performance.getEntriesByType('resource'));"
        "document.title = [boxes.length, seen, d.documentElement.scrollWidth <= 1000,"
        " got.filter(e => !e.name.startsWith('file:')).length].join(' ')"
    )
    probe.write_text(
        f'<title>-</title><iframe src="{page.name}" width="1000" height="800"></iframe>'
        f"<script>window.onload = () => {{ {script} }}</script>"
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom"]
    shown = subprocess.run(
        [str(CHROMIUM), *flags, f"--user-data-dir={searched / 'chromium'}", probe.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r"<title>(\d+) (\d+) (\w+) (\d+)</title>", shown.stdout)
    assert found, shown.stdout + shown.stderr
    boxes, seen, fits, fetched = found.groups()
    figures = page.read_text().count("<svg") + page.read_text().count("<table")
    assert (int(boxes), int(seen), fits, int(fetched)) == (figures, figures, "true", 0)


def test_a_directory_without_trials_is_refused(searched):
    (searched / "trials.csv").unlink()
    with pytest.raises(Mistake, match=r"no trials\.csv"):
        write_page(searched)
