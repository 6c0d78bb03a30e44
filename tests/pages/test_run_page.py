"""The page of a run: what it holds is what was played, and a browser shows it step by step."""

import base64
import json
import re
import shutil
from io import BytesIO

import numpy as np
import pytest
import torch
import yaml
from browser import CHROMIUM, NONE, run_in_browser
from small_worlds import ASSAULT, NATURE, write_run

from custom_models.distributions import Categorical
from evidence.publication import publish_agent
from pages.commands import write_pages
from pages.run_facts import make_title, read_curves
from pages.run_games import choose_clips, film_clip, make_agent
from pages.run_page import write_page
from playing.games_display import GamesDisplay
from playing.kept_evaluations import find_evaluation, read_agent_file
from playing.saved_settings import read_run_settings
from recordings.recording import play_replays
from recordings.saliency import PARTS, measure_importance
from run import main
from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.manifest import write_manifest
from settings.mistakes import Mistake

av = pytest.importorskip("av")
ROWS = "agent_steps,wall_time_s,episode_return_mean,policy_loss\n1000,2.0,nan,0.5\n2000,4.0,300.0,0.25\n"
START = {
    "time": "2026-11-26T02:00:00+0000",
    "command": ["python", "run.py", "algo=ppo", "label=</script>"],
    "overrides": [],
    "git": {"commit": "abc123", "dirty": True},
    "packages": {"ray": "2.60.0"},
    "hardware": {"cpu": "a fast one", "cpus": 2},
}


@pytest.fixture(scope="module")
def assault_run(tmp_path_factory):
    """An untrained agent that plays 60 agent steps of Assault, with two milestones, for tests that read it."""
    bias = [0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.2]  # so that actions differ in how likely they are
    checkpoints = ("milestone_0", "milestone_10", "best")
    run = tmp_path_factory.mktemp("runs") / "assault"
    write_run(run, env=ASSAULT, model=NATURE, checkpoints=checkpoints, bias=bias)
    (run / "progress.csv").write_text(ROWS)
    (run / "run.json").write_text(json.dumps({"starts": [START]}))
    return run


@pytest.fixture(scope="module")
def assault_page(assault_run):
    """The page of that run, written once."""
    return write_page(assault_run)


def content_of(page) -> dict:
    """What run_page.html draws."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.S)
    return json.loads(text)


def array_of(packed: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["data"]), packed["type"]).reshape(packed["shape"])


def pictures_in(uri: str) -> list[np.ndarray]:
    head, data = uri.split(",", 1)
    assert head == "data:video/mp4;base64"
    with av.open(BytesIO(base64.b64decode(data))) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def test_the_page_holds_the_game_that_was_played_and_what_the_agent_thought_and_saw(assault_run, assault_page):
    game = content_of(assault_page)["game"]
    agent = make_agent(assault_run, find_checkpoint(assault_run, None), 18_000)
    with GamesDisplay(1) as display:
        (replay,) = play_replays(agent, 1, greedy=False, display=display)
    assert game["steps"] == len(replay.actions) == 60 and "cut after 60 agent steps" in game["how"]
    np.testing.assert_array_equal(array_of(game["actions"])[:, 0], replay.actions)
    np.testing.assert_array_equal(array_of(game["rewards"]), replay.rewards.astype(np.float32))
    np.testing.assert_allclose(array_of(game["policy"]) / 255, replay.policy, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(array_of(game["values"]), replay.values, rtol=1e-6)
    assert game["labels"] == [name.lower() for name in replay.action_names]
    film, strip = pictures_in(game["video"]), pictures_in(game["sees"]["video"])
    assert len(film) == len(strip) == 60 and film[0].shape == (210, 160, 3) and strip[0].shape == (84, 4 * 84, 3)
    assert strip[0][:, : 3 * 84].max() < 16 and strip[0][:, 3 * 84 :].max() > 100  # one frame, and none before it
    shift = np.abs(strip[30][:, 84:].astype(int) - strip[31][:, : 3 * 84]).mean()
    assert shift < 2  # what was new is one frame older now; H.264 is not exact
    assert array_of(game["importance"]).shape == (15, PARTS, PARTS) and game["sees"]["every"] == 4


def test_milestones_are_clips_in_their_order_and_the_rest_is_said(assault_page):
    content, text = content_of(assault_page), assault_page.read_text()
    assert [clip["name"] for clip in content["clips"]] == ["1,000 agent steps", "2,000 agent steps"]
    assert all(len(pictures_in(clip["video"])) == 120 for clip in content["clips"])  # 4 s, 30 pictures a second
    assert content["title"] == "PPO on Assault" and content["curves"][0]["values"] == [None, 300.0]
    assert "abc123, changed" in content["starts"][0] and "a fast one" in content["starts"][0]
    assert yaml.safe_load(content["settings"])["env"]["game"] == "assault"
    assert len(text) < 12 * 2**20 and not re.search(r'(src|href)="?https?:', text)


def test_a_run_that_ended_early_has_a_clip_of_its_last_agent_and_no_clip_twice(tmp_path):
    """Milestones 1 and 3 are of one row of a tiny run, and stop.time_s ended it before 10 % of its budget."""
    run = tmp_path / "run"
    names = ("milestone_0", "milestone_1", "milestone_3", "last")
    write_run(run, env=ASSAULT | {"max_episode_frames": 80}, model=NATURE, checkpoints=names)
    for name, steps in zip(names, (0, 1000, 1000, 1700), strict=True):
        folder = run / "checkpoints" / name
        (folder / "progress.json").write_text(json.dumps({"agent_steps": steps}))
        write_manifest(folder)
    assert [folder.name for folder in choose_clips(run)] == ["milestone_0", "milestone_1", "last"]
    clips = content_of(write_page(run))["clips"]
    assert [clip["name"] for clip in clips] == ["0 agent steps", "1,000 agent steps", "1,700 agent steps"]
    (run / "checkpoints" / "last" / "progress.json").write_text("damaged")
    assert [folder.name for folder in choose_clips(run)] == ["milestone_0", "milestone_1"]


@pytest.mark.parametrize(
    ("env", "title"),
    [
        ({"id": "CartPole-v1", "name": "cartpole"}, "PPO on CartPole"),
        ({"id": "my_games:maze/BigMaze-v10", "name": "BigMaze-v10"}, "PPO on BigMaze"),
        ({"game": "ms_pacman", "name": "ms_pacman"}, "PPO on Ms pacman"),
    ],
)
def test_an_environment_is_called_as_its_id_spells_it(env, title):
    assert make_title({"algo": {"name": "ppo"}, "env": env}) == title


@pytest.mark.parametrize(
    ("episodes", "words"), [(0, "no game"), (1, "last 1 game "), (23, "last 23 games"), (500, "100")]
)
def test_the_score_says_of_how_many_games_it_is_the_mean(episodes, words, make_run):
    run = make_run("Scripted-v0")
    folder = run / "checkpoints" / "last"
    (folder / "progress.json").write_text(json.dumps({"episodes": episodes, "episode_return_mean": 5.0}))
    write_manifest(folder)
    content = content_of(write_page(run))
    assert words in content["score"]["how"]
    assert content["facts"][0].startswith("Seed 1, ") and "rotocol" not in content["facts"][0]


@pytest.mark.parametrize("gpu", [{"gpu": "NVIDIA H100"}, {}])
def test_the_gpu_of_a_run_is_named_where_it_is_known(gpu, make_run):
    run = make_run("Scripted-v0")
    config = run / "config.yaml"
    config.write_text(config.read_text() + "cluster: {gpus_per_learner: 1}\n")
    (run / "run.json").write_text(json.dumps({"starts": [START | {"hardware": {"cpu": None, "cpus": 2} | gpu}]}))
    (start,) = content_of(write_page(run))["starts"]
    assert f"gpu {gpu.get('gpu', 'of a kind that was not recorded')}" in start and "None" not in start


def test_the_score_is_that_of_an_evaluation_where_there_is_one(make_run):
    run = make_run("Scripted-v0", checkpoints=("best",))
    before = content_of(write_page(run))["score"]
    assert before["mean"] is None and "command=evaluate" in before["how"]
    steps = read_totals(run / "checkpoints/best")["agent_steps"]
    result = {"episodes": 30, "stochastic": {"mean": 350.5, "iqm": 340.0, "iqm_interval": [300.0, 400.0]}}
    result |= {"checkpoint": "best", "agent_steps": steps}
    (run / "checkpoints" / "evaluation_best.json").write_text(json.dumps(result | {"agent_steps": steps - 1}))
    assert content_of(write_page(run))["score"] == before, "of weights that were the best once"
    (run / "checkpoints" / "evaluation_best.json").write_text(json.dumps(result))
    after = content_of(write_page(run))["score"]
    assert after["mean"] == 350.5 and "95 % interval 300.0 to 400.0" in after["how"]
    (run / "checkpoints" / "evaluation_best.json").write_text(json.dumps(result | {"episodes": 3}))
    assert content_of(write_page(run))["score"] == {"mean": 350.5, "how": "the mean of 3 full games, stochastic"}
    others = {
        "100_games": {"mean": 123.0, "iqm": 120.0},
        "100_games_sticky_0.25": {"mean": 9.0},
        "greedy": {"mean": 8.0},
    }
    for words, numbers in others.items():
        other = result | {"episodes": 100, "stochastic": result["stochastic"] | numbers}
        (run / "checkpoints" / f"evaluation_best_{words}.json").write_text(json.dumps(other))
    more = content_of(write_page(run))["score"]
    assert more["mean"] == 123.0 and "100 full games" in more["how"], "the most games, by the run's own rules"
    elsewhere = run.parent / "elsewhere/checkpoints/best"
    shutil.copytree(run / "checkpoints/best", elsewhere)
    shutil.copy(run / "checkpoints/evaluation_best.json", elsewhere.parent)  # under the rules of another run
    assert find_evaluation(run, elsewhere) is None


def test_a_setting_that_looks_like_html_does_not_blank_the_page(make_run):
    run = make_run("Scripted-v0")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["label"] = "<!-- <script></script>"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    text = write_page(run).read_text()
    assert "<!-- <script>" not in text and "\\u003c!-- \\u003cscript>" in text


def test_the_audit_of_a_run_stands_on_its_page(make_run):
    run = make_run("Scripted-v0")
    audit = content_of(write_page(run))["audit"]
    assert audit["title"] == "Not audited yet" and audit["lines"][0].endswith(f"command=audit run={run}")
    answer = {"subject": "loss", "question": "is it right?", "status": "PASS", "found": "yes"}
    content = {"agent_steps": 1234, "answers": [answer, answer | {"status": "DIFFERS"}]}
    for checkpoint, at in ((None, ""), ("last", " at 1,234 agent steps")):  # earlier versions counted other steps
        (run / "audit.json").write_text(json.dumps(content | {"checkpoint": checkpoint}))
        audit = content_of(write_page(run))["audit"]
        assert audit["title"] == f"Audit{at}: 1 PASS, 1 DIFFERS"
    assert audit["lines"] == ["PASS    loss: is it right? (yes)", "DIFFERS loss: is it right? (yes)"]
    (run / "audit.json").write_text(json.dumps({"answers": 7}))
    with pytest.raises(Mistake, match="audit.json"):
        write_page(run)


def test_a_published_agent_has_a_page_with_its_score_and_where_it_is_from(make_run, tmp_path):
    run = make_run("Scripted-v0")
    (run / "run.json").write_text(json.dumps({"starts": [START]}))
    agent = publish_agent(run, tmp_path / "agent", episodes=2)
    content = content_of(write_page(tmp_path / "agent"))
    assert content["score"]["mean"] == agent["evaluation"]["stochastic"]["mean"]
    assert "abc123, changed" in content["starts"][0] and content["curves"] == []
    assert "published agent" in content["facts"][-1]
    assert not any("published" in fact for fact in content_of(write_page(run))["facts"])


def test_an_environment_without_pictures_has_a_page_without_games(make_run):
    run = make_run("Scripted-v0")
    content = content_of(write_page(run))
    assert content["game"] is None and content["clips"] == [] and content["starts"] == ["not recorded"]


def test_evaluations_are_dots_at_the_time_at_which_their_weights_were_taken(make_run):
    run = make_run()
    (run / "progress.csv").write_text(ROWS)
    head = "agent_steps,way,games,mean,low,high,cut,seconds\n"
    rows = "1500,stochastic,30,250.0,200.0,300.0,0,9.5\n2000,stochastic,1,310.0,nan,nan,0,0.3\n"
    assert content_of(write_page(run))["evaluations"] == []
    (run / "evaluations.csv").write_text(head + rows)
    content = content_of(write_page(run))
    assert content["evaluations"] == [
        {"agent_steps": 1500, "wall_time_s": 3.0, "mean": 250.0, "low": 200.0, "high": 300.0},
        {"agent_steps": 2000, "wall_time_s": 4.0, "mean": 310.0, "low": None, "high": None},
    ]
    assert "evaluations" in content["curves"][0]["name"]


def test_a_human_score_below_zero_is_a_line_as_any_other(make_run):
    run = make_run(env=ASSAULT | {"game": "skiing", "name": "skiing"}, model=NATURE)
    (run / "progress.csv").write_text(ROWS.replace("nan", "-17000.0").replace("300.0", "-4400.0"))
    assert any(line["name"].startswith("human") for line in read_curves(read_run_settings(run), run)["lines"])


def test_a_clip_is_labelled_with_the_steps_of_the_weights_that_played(assault_run, tmp_path, monkeypatch):
    run = shutil.copytree(assault_run, tmp_path / "run")
    milestone = run / "checkpoints/milestone_0"

    def replace_meanwhile(pictures, rate, folder) -> str:
        totals = json.loads((milestone / "progress.json").read_text())
        (milestone / "progress.json").write_text(json.dumps(totals | {"agent_steps": 9999}))
        return "data:"

    monkeypatch.setattr("pages.run_games.encode_video", replace_meanwhile)
    with GamesDisplay(1) as display:
        assert film_clip(run, milestone, display, tmp_path)["name"] == "1,000 agent steps"


@pytest.mark.parametrize("command", ["page", "record", "watch"])
def test_the_checkpoint_of_one_seed_does_not_play_as_another(command, make_run, tmp_path, capsys):
    for seed in (1, 2):
        make_run(name=f"parent/seed_{seed}", seed=seed)
    named = f"checkpoint={tmp_path}/parent/seed_2/checkpoints/last"
    assert main([f"command={command}", f"run={tmp_path}/parent", named]) == 2
    assert "give run=<one of them>" in capsys.readouterr().err


EVALUATION = {"checkpoint": "last", "agent_steps": 1000, "episodes": 2, "games_seed": 1}
STATISTICS = {"mean": 1.0, "std": 0.5, "iqm": 1.0, "iqm_interval": [0.5, 1.5]}


@pytest.mark.parametrize(
    "evaluation",
    [
        EVALUATION | {"episodes": None},
        EVALUATION | {"stochastic": STATISTICS | {"iqm": "1"}},
        EVALUATION | {"stochastic": {"mean": 1.0, "std": 0.5, "iqm": 1.0}},
        EVALUATION | {"greedy": STATISTICS | {"iqm_interval": [1.0]}},
    ],
)
def test_a_damaged_evaluation_is_named(evaluation, make_run):
    run = make_run()
    (run / "checkpoints/evaluation_last.json").write_text(json.dumps(EVALUATION | {"stochastic": STATISTICS}))
    assert find_evaluation(run, run / "checkpoints/last")["episodes"] == 2
    of_few_games = EVALUATION | {"stochastic": STATISTICS | {"iqm_interval": None}}
    (run / "checkpoints/evaluation_last.json").write_text(json.dumps(of_few_games))
    assert find_evaluation(run, run / "checkpoints/last") == of_few_games
    (run / "checkpoints/evaluation_last.json").write_text(json.dumps(evaluation))
    with pytest.raises(Mistake, match=r"evaluation_last\.json is damaged"):
        find_evaluation(run, run / "checkpoints/last")


@pytest.mark.parametrize("starts", [None, [{"hardware": {}, "packages": {}}], [3]])
def test_a_damaged_agent_file_is_named(starts, tmp_path):
    (tmp_path / "agent.json").write_text(json.dumps({"starts": starts}))
    with pytest.raises(Mistake, match=r"agent\.json is damaged"):
        read_agent_file(tmp_path)


def test_an_environment_without_pixels_has_its_game_and_no_eyes(make_run):
    pytest.importorskip("pygame")
    game = content_of(write_page(make_run("CartPole-v1")))["game"]
    assert game["sees"] is None and game["importance"] is None and game["labels"] == ["action 0", "action 1"]
    assert len(pictures_in(game["video"])) == game["steps"] == len(array_of(game["rewards"]))


def test_an_action_of_several_parts_has_a_bar_for_each_value_of_each_part(make_run):
    env = {"name": "own", "id": "tests.environments.own_worlds:Matching-v0", "frameskip": 1, "clip_rewards": False}
    game = content_of(write_page(make_run(env=env, bias=[9.0, 0, 0, 0, 9, 0, 0, 9, 0])))["game"]
    assert len(game["labels"]) == 9 and game["labels"][3] == "part 2: 0"
    np.testing.assert_array_equal(array_of(game["actions"]), [[0, 4, 7]] * 8)  # places among the bars


def test_pictures_that_are_not_square_are_shown_as_the_network_sees_them(make_run):
    env = {"name": "own", "id": "tests.environments.own_worlds:Wide-v0", "frameskip": 1, "clip_rewards": False}
    model = {"torso": "minigrid_cnn", "hidden": 16, "activation": "relu"}
    game = content_of(write_page(make_run(env=env | {"frame_stack": 2}, model=model)))["game"]
    assert (game["sees"]["width"], game["sees"]["height"], game["sees"]["stack"]) == (52, 36, 2)
    assert pictures_in(game["sees"]["video"])[0].shape[:2] == (36, 104)
    assert array_of(game["importance"]).shape == (1, PARTS, PARTS)


def test_a_seed_without_a_page_does_not_keep_the_others_from_theirs(make_run, tmp_path, capsys):
    for seed in (1, 2):
        make_run("Scripted-v0", seed=seed, name=f"several/seed_{seed}")
    damaged, whole = tmp_path / "several" / "seed_1", tmp_path / "several" / "seed_2"
    (damaged / "run.json").write_text("damaged")
    assert write_pages(tmp_path / "several", None) == 1
    assert f"{damaged}: no page was written: " in capsys.readouterr().err and (whole / "page.html").is_file()
    with pytest.raises(Mistake):
        write_pages(damaged, None)


def test_a_run_that_cannot_be_written_to_is_refused_before_anything_is_played(assault_run, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr("pages.run_games.play_replays", None)
    with pytest.raises(Mistake, match=f"run={assault_run}: .*page"):
        write_page(assault_run)


class Watcher:
    """A network whose policy depends on the brightness of one part of the picture, and on nothing else."""

    Policy = Categorical

    def __init__(self, row: int, column: int):
        self.rows, self.columns = slice(3 * row, 3 * row + 3), slice(3 * column, 3 * column + 3)

    def act(self, obs, packed, state):
        part = obs[:, self.rows, self.columns].float()
        spread = part.amax((1, 2, 3)) - part.amin((1, 2, 3))  # 0 where it is hidden by its mean
        return torch.stack([spread / 50, torch.zeros_like(spread)], -1), None, state


def test_an_agent_looks_where_its_policy_depends_on():
    network, blocks = Watcher(2, 5), np.random.default_rng(1).integers(0, 255, (1, 21, 21, 4, 16), np.uint8)
    shape = (21, 21, 64)
    parameters, _, _ = network.act(torch.from_numpy(blocks.reshape(1, *shape)), {}, ())
    found = measure_importance(network, {}, (), blocks, Categorical(parameters), shape)  # pyright: ignore
    assert found.shape == (PARTS, PARTS) and found[2, 5] > 0.3
    found[2, 5] = 0
    assert not found.any()


SCRUB = """
const $ = id => document.getElementById(id), said = {};
const until = async (what, done) => {
  for (let i = 0; i < 1200 && !done(); i++) await later(100);
  said[what] = done();
};
const painted = canvas => canvas.getContext('2d').getImageData(0, 0, 84, 84).data.some((v, i) => i % 4 < 3 && v > 60);
const key = name => document.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true }));
const press = (name, on, more) =>
  on.dispatchEvent(new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true, ...more }));
const slider = $('scrubber');
said.range = [slider.min, slider.max]; slider.value = 42; slider.dispatchEvent(new Event('input'));
said.at = $('status').textContent;
const ends = texts => [texts[0].textContent, texts[2].textContent];
said.axis = [...document.querySelectorAll('#replay svg')].map(svg => ends(svg.querySelectorAll('text[y="136"]')));
const box = e => e.getBoundingClientRect(), screen = box(document.querySelector('.screen video'));
const controls = ['scrubber', 'play', 'speed'].map(id => box($(id)));
said.under = controls.every(it => it.top >= screen.bottom && it.bottom < screen.bottom + 120);
said.bars = [...document.querySelectorAll('#policy i')].map(e => Math.round(parseFloat(e.style.width)));
await until('painted', () => [...document.querySelectorAll('.sees canvas')].every(painted));
key('ArrowRight'); said.next = $('status').textContent;
said.others = press('ArrowLeft', document, { altKey: true }) && press(' ', document.querySelector('summary'));
said.others &&= press('Enter', $('play')) && !press('ArrowRight', $('play')) && !press('ArrowLeft', $('play'));
said.others &&= $('status').textContent == said.next && $('play').textContent == 'Play';
key('Home'); said.first = $('status').textContent;
key(' '); said.playing = $('play').textContent;
await until('moves', () => parseInt($('status').textContent.split(' ')[2]) > 3);
if ($('play').textContent == said.playing) key(' '); // it may have come to the end
said.paused = $('play').textContent;
said.fetched = performance.getEntriesByType('resource').filter(e => !/^(file|data):/.test(e.name)).length;
said.fits = document.documentElement.scrollWidth <= innerWidth;
return said;
"""


@pytest.mark.skipif(CHROMIUM is None, reason=NONE)
def test_a_browser_shows_the_step_that_is_asked_for(assault_page, tmp_path):
    game = content_of(assault_page)["game"]
    said = run_in_browser(assault_page.as_uri(), SCRUB, tmp_path, width=500)
    assert said["at"].startswith("agent step 42 of 60, score ") and said["next"].startswith("agent step 43 of 60")
    assert said["range"] == ["1", "60"] and said["axis"] == [["1", "60"]] * 3
    assert said["under"], "the controls are not under the picture"
    assert f"plays {game['labels'][int(array_of(game['actions'])[41, 0])]}" in said["at"]
    assert said["bars"] == [round(100 * int(p) / 255) for p in array_of(game["policy"])[41]]
    assert said["first"].startswith("agent step 1 of 60") and (said["playing"], said["paused"]) == ("Pause", "Play")
    assert said["painted"] and said["moves"] and said["fits"] and said["others"] and said["fetched"] == 0


@pytest.mark.skipif(CHROMIUM is None, reason=NONE)
def test_a_second_of_a_game_whose_steps_do_not_divide_it_is_whole_steps(assault_page, tmp_path):
    content = content_of(assault_page)
    content["game"]["fps"] = 7.5
    page, text = tmp_path / "page.html", assault_page.read_text()
    head, _, rest = text.partition('id="data">')
    data = json.dumps(content).replace("<", "\\u003c")
    page.write_text(f'{head}id="data">{data}</script>{rest.partition("</script>")[2]}')
    press = "document.dispatchEvent(new KeyboardEvent('keydown', { key }))"
    script = f"for (const key of ['Home', 'ArrowUp', 'ArrowRight']) {press}; return $('status').textContent;"
    status = run_in_browser(page.as_uri(), "const $ = id => document.getElementById(id);" + script, tmp_path)
    assert status.startswith("agent step 10 of 60, score ")


DRAW = """
const box = document.createElement('div'), said = {};
box.style.width = '300px'; document.body.append(box);
const draw = (...words) => {
  box.replaceChildren(); chart(box, 'a curve', ...words); return [...box.querySelectorAll('text')];
};
const where = text => text.getBBox(), texts = all => all.map(text => text.textContent);
const names = { 'random play 245.76': 245.76, 'human 742': 742, 'human 740 of another table': 740 };
const lines = Object.entries(names).map(([name, score]) => ({ name, score }));
const named = draw([0, 1, 2], [240, 230, 238], { height: 240, lines }).slice(-3), boxes = named.map(where);
said.inside = boxes.every(b => b.y >= 0 && b.x >= 0 && b.x + b.width <= 300);
const before = (a, b) => a.x + a.width <= b.x || a.y + a.height <= b.y + 2;
said.apart = boxes.every((a, i) => boxes.every((b, j) => i == j || before(a, b) || before(b, a)));
const one = draw([0, 1, 2], [240, 230, 238], { lines: lines.slice(0, 1) }).slice(-1).map(where)[0];
said.above = one.y >= 0 && one.y + one.height <= +box.querySelector('.reference').getAttribute('y1');
said.background = getComputedStyle(box.querySelector('.name')).paintOrder.startsWith('stroke');
const steps = Float64Array.from({ length: 5000 }, (_, i) => i + 1);
const labels = texts(draw(steps, steps.map(i => i % 2 ? 9e-8 : 2 + i / 5000)));
said.low = labels[0];
said.points = box.querySelector('.line').getAttribute('d').match(/[ML]/g).length;
const ys = box.querySelector('.line').getAttribute('d').split(/[ML]/).slice(1).map(place => +place.split(' ')[1]);
said.jumps = Math.max(...ys.slice(1).map((y, i) => Math.abs(y - ys[i])));
said.range = !!box.querySelector('.range');
draw([1, 2, 3], [1, 2, 3]); said.plain = !box.querySelector('.range');
const sure = { x: 1, mean: 50, low: 40, high: 60 }, single = { x: 2, mean: 20, low: null, high: null };
draw([0, 1, 2], [10, 20, 30], { dots: [sure, single] });
const of = (selector, name) => [...box.querySelectorAll(selector)].map(e => +e.getAttribute(name));
said.dots = [of(".dot", "cy"), of(".whisker", "y1"), of(".whisker", "y2"), of(".dot", "cx")];
said.distinct = new Set(texts(draw([1, 2], [1.9412, 1.9431])).slice(0, 3)).size == 3;
return said;
"""


@pytest.mark.skipif(CHROMIUM is None, reason=NONE)
def test_the_name_of_a_line_can_be_read_and_thousands_of_steps_are_a_curve(assault_page, tmp_path):
    said = run_in_browser(assault_page.as_uri(), DRAW, tmp_path)
    for what in ("inside", "apart", "above", "background", "range", "plain", "distinct"):
        assert said[what], (what, said)
    assert said["low"] == "0" and said["points"] <= 100 and said["jumps"] < 15
    (first, second), (bottom,), (top,), (left, right) = said["dots"]
    assert bottom > first > top > 0 and second > bottom and left < right, "one has no interval"


def test_a_clip_of_a_game_that_is_not_ales_is_cut_too(make_run, tmp_path, monkeypatch):
    run = make_run("CartPole-v1")
    milestone = shutil.copytree(run / "checkpoints/last", run / "checkpoints/milestone_0")
    monkeypatch.setattr("pages.run_games.encode_video", lambda pictures, rate, folder: len(list(pictures)))
    with GamesDisplay(1) as display:
        whole = film_clip(run, milestone, display, tmp_path)["video"]
        monkeypatch.setattr("pages.run_games.CLIP_SECONDS", 0.12)
        assert film_clip(run, milestone, display, tmp_path)["video"] == 3 < whole  # every second one of 50 per second
