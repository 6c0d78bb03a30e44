"""Recordings: what an agent played is kept, proven and filmed; what cannot be is said before it plays."""

import dataclasses
import io
import re

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from small_worlds import ASSAULT, MLP, MODULE, NATURE, CountsActions, Scripted, SumsABox

import run as command_line
from custom_models.q_network import QNetwork
from environments.games import make_games
from evidence.evaluate import evaluate
from playing.agent import Agent
from playing.games_display import GamesDisplay
from recordings.recording import play_replays, record
from recordings.replay import label_policy, list_played, pack_replay, read_replay
from recordings.replayed_game import Environment, StepResult, has_pictures, open_game, replay_game
from recordings.video import VideoFormat, combine_frames, find_replay, iterate_pictures, make_video
from run_directory.layout import PROGRESS_JSON
from run_directory.manifest import write_manifest
from run_directory.weights import write_weights
from settings.mistakes import Mistake

av = pytest.importorskip("av")
SHORT = ASSAULT | {"max_episode_frames": 120}  # 30 agent steps, 2 seconds
SMALL = VideoFormat("gif", scale=1)


class Drawn(CountsActions):
    """A world with pictures: 9 x 7 pixels, an odd number of each, which grow brighter step by step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        return np.ones(1, np.float32), super().reset(seed=seed)[1]

    def render(self):
        return np.full((9, 7, 3), 20 * self.t, np.uint8)


class DrawnBox(Drawn, SumsABox):
    """The same with continuous actions."""


class Unsteady(Drawn):
    """It draws its rewards from random numbers that no seed reaches."""

    def step(self, action):
        return *super().step(action)[:1], float(np.random.default_rng().random()), *super().step(action)[2:]


@pytest.fixture(autouse=True)
def drawn_worlds():
    worlds = {"Drawn-v0": Drawn, "DrawnBox-v0": DrawnBox, "Unsteady-v0": Unsteady}
    for name, world in worlds.items():
        gymnasium.register(name, entry_point=world, max_episode_steps=100)
    yield
    for name in worlds:
        del gymnasium.registry[name]


def recordings(run, ending="npz"):
    return sorted((run / "recordings").glob(f"*.{ending}"))


def test_games_are_kept_proven_and_filmed_with_sound(make_run, capsys):
    run = make_run(env=SHORT, model=NATURE)
    assert command_line.main(["command=record", f"run={run}", "games=2"]) == 0
    printed = capsys.readouterr().out
    names = [f"last_stochastic_seed_1_game_{number}" for number in (1, 2)]
    assert [path.stem for path in recordings(run)] == [path.stem for path in recordings(run, "mp4")] == names
    assert {path.name for path in run.iterdir()} == {"config.yaml", "checkpoints", "recordings"}
    for path in recordings(run):
        replay = read_replay(path)
        assert len(replay.actions) == 30 and replay.cut and f"score {replay.score:,g} " in printed
        assert replay.policy.shape == (30, 7) and np.allclose(replay.policy.sum(1), 1)
        assert np.allclose(replay.entropy, -(replay.policy * np.log(replay.policy)).sum(1), atol=1e-5)
        assert replay.values.shape == (30,) and replay.action_names[:2] == ["NOOP", "FIRE"]
        origin = {"checkpoint": "last", "agent_steps": 1000, "algo": "ppo", "way": "stochastic", "seed": 1}
        assert origin.items() <= replay.origin.items() and replay.origin["run"].endswith("/run")
        assert str(path) in printed
        with av.open(str(path.with_suffix(".mp4"))) as file:
            video, audio = file.streams.video[0], file.streams.audio[0]
            assert (video.width, video.height, video.average_rate, video.frames) == (320, 420, 60, 120)
            assert abs(float(audio.duration * audio.time_base) - 2) < 0.1
            drawn = [frame.to_ndarray(format="rgb24", src_colorspace="ITU709") for frame in file.decode(video=0)]
        frames = [frame for moment in replay_game(replay, open_game(replay)) for frame in moment.frames]
        assert len(drawn) == len(frames) == 120
        for t in (0, 59, 119):
            assert np.abs(drawn[t].astype(int) - frames[t].repeat(2, 0).repeat(2, 1)).mean() < 2
    assert read_replay(recordings(run)[0]).seed + 1 == read_replay(recordings(run)[1]).seed


def read_screen(written: str) -> list[str]:
    """The lines that a terminal shows in the end; of Rich's codes, moves up (A) and erased lines (K) are obeyed."""
    lines, row = [""], 0
    for part in re.split(r"(\x1b\[[\d;?]*[A-Za-z]|\r|\n)", written):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.endswith("A") and part.startswith("\x1b["):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part != "\r" and not part.startswith("\x1b["):
            lines[row] += part
    return [line for line in lines if line.strip()]


def test_in_a_terminal_only_results_stay_and_they_are_in_their_order(make_run):
    run = make_run(env=SHORT, model=NATURE)
    console = Console(file=io.StringIO(), force_terminal=True, width=80, legacy_windows=False)
    assert record(run, 2, look=SMALL, console=console) == 0
    shown = read_screen(console.file.getvalue())
    assert [line.split()[0] for line in shown] == ["game", "video:", "replay:"] * 2, shown
    assert "recording, stochastic: 2 of 2 games" in console.file.getvalue()
    assert "game 2 of 2: replayed 100%" in console.file.getvalue()


def test_a_recording_plays_as_an_evaluation_does(make_run):
    """The same network, greedy, on the same seeds: the scores are those of the first games of an evaluation."""
    run = make_run(env=ASSAULT | {"max_episode_frames": 1200}, model=NATURE, seed=2)
    scores = evaluate(run, 3, ways=["greedy"])["greedy"]["scores"]
    agent = Agent(run, run / "checkpoints" / "last")
    with GamesDisplay(3) as display:
        replays = list(play_replays(agent, 3, True, display))
    assert [replay.score for replay in replays] == scores
    assert all((replay.actions[replay.decided] == replay.policy.argmax(1)[replay.decided]).all() for replay in replays)
    assert any(len(set(replay.actions.tolist())) > 1 for replay in replays)
    assert not all(replay.decided.all() for replay in replays), "no life was lost, so FIRE was never pressed"
    for replay in replays:
        assert (replay.actions[~replay.decided] == replay.action_names.index("FIRE")).all()
        assert sum(moment.reward for moment in replay_game(replay, open_game(replay))) == replay.score


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (VideoFormat("webp"), (320, 420, 30)),
        (VideoFormat("gif", scale=1), (160, 210, 30)),
        (VideoFormat("mp4", 1, 30), (160, 210, 60)),
    ]
    + [(VideoFormat("gif", 1, 60), (160, 210, 120)), (VideoFormat("webp", 1, 30), (160, 210, 60))],
    ids=str,
)
def test_a_video_has_the_format_size_and_pictures_that_were_asked_for(look, words, make_run):
    image = pytest.importorskip("PIL.Image")
    run = make_run(env=SHORT, model=NATURE)
    assert record(run, 1, look=look) == 0
    (path,) = recordings(run, look.format)
    if look.format == "mp4":
        with av.open(str(path)) as file:
            assert (*file.streams.video[0].codec_context.framerate.as_integer_ratio()[:1],) == (30,)
            assert len(list(file.decode(video=0))) == words[2]
        return
    with image.open(path) as animation:
        assert (*animation.size, animation.n_frames) == words and animation.info["loop"] == 0
        wait = 0
        for number in range(animation.n_frames):
            animation.seek(number)
            animation.load()
            wait += animation.info["duration"]
        drawn = np.array(animation.convert("RGB"))  # the last one
    assert abs(wait - 2000) < 70
    replay = read_replay(recordings(run)[0])
    frames = [frame for moment in replay_game(replay, open_game(replay)) for frame in moment.frames]
    scale = words[0] // 160
    expected = frames[-1] if look.fps == 60 else np.maximum(frames[-1], frames[-2])
    assert np.array_equal(drawn[::scale, ::scale], expected)


@pytest.mark.parametrize(("fps", "rate"), [(15, 10), (30, 20)])
def test_a_video_has_no_more_pictures_per_second_than_it_was_asked_for(fps, rate, make_run):
    run = make_run("Drawn-v0")
    assert command_line.main(["command=record", f"run={run}", "games=1", f"fps={fps}"]) == 0
    (path,) = recordings(run, "mp4")
    with av.open(str(path)) as video:
        assert float(video.streams.video[0].average_rate) == pytest.approx(rate, rel=0.01)


def test_a_picture_of_several_frames_is_the_maximum_of_the_last_two_where_sprites_flicker():
    frames = [np.full((1, 1, 3), value, np.uint8) for value in (9, 5, 3)]
    assert combine_frames(frames, flickers=True).max() == 5 and combine_frames(frames, flickers=False).max() == 3
    assert combine_frames(frames[:1], flickers=True).max() == 9


def test_a_video_of_an_environment_has_its_speed_and_even_sides(make_run):
    run = make_run("Drawn-v0")
    assert record(run, 1) == 0
    with av.open(str(recordings(run, "mp4")[0])) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (8, 10) and not file.streams.audio
        assert file.streams.video[0].average_rate == 20
        drawn = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(drawn) == 10 and drawn[9].mean() > drawn[0].mean() + 100


def test_a_gaussian_policy_is_kept_as_means_and_deviations_and_its_actions_as_clipped(make_run):
    run = make_run("DrawnBox-v0", bias=[0.25])
    assert record(run, 1, look=SMALL) == 0
    replay = read_replay(recordings(run)[0])
    assert replay.policy_kind == "gaussian" and replay.policy.shape == (10, 2) and replay.actions.shape == (10, 1)
    assert np.allclose(replay.policy, [0.25, 1.0]) and replay.score == pytest.approx(replay.actions.sum())
    assert replay.actions.min() == -0.5 and replay.action_names == []


@pytest.mark.parametrize(
    ("kwargs", "wrappers", "rate"),
    [
        ({"frameskip": 1}, [{"gymnasium.wrappers:AtariPreprocessing": {"frame_skip": 4}}], 15),
        ({"frameskip": 3}, ["gymnasium.wrappers:GrayscaleObservation"], 20),
        ({"frameskip": (2, 5)}, ["gymnasium.wrappers:GrayscaleObservation"], 20),
    ],
)
def test_a_game_of_ale_under_other_rules_is_filmed_at_its_own_speed(kwargs, wrappers, rate):
    env = {"id": "ale_py:ALE/Assault-v5", "kwargs": kwargs, "wrappers": wrappers}
    assert Environment(env, 0, pictures=False).fps == rate


def test_a_memory_begins_anew_and_a_run_without_a_critic_has_no_values(make_run):
    run = make_run("Drawn-v0", model={"lstm_size": 4})
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("name: ppo", "name: pg"))
    assert record(run, 2, look=SMALL) == 0
    one, other = (read_replay(path) for path in recordings(run))
    assert one.values is None and np.array_equal(one.policy, other.policy)
    assert (one.policy[5] != one.policy[6]).any(), "only the first observation is not 0, and it is not remembered"


def test_a_q_network_is_kept_with_its_q_values_the_largest_of_which_is_the_value(tmp_path):
    env = {"name": "small", "id": "Drawn-v0", "frameskip": 1, "clip_rewards": False}
    settings = {"seed": 1, "algo": {"name": "dqn", "dueling": True}, "env": env, "model": MLP}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    games = make_games(env, 1, 1)
    spaces = {"observation_space": games.observation_space, "action_space": games.action_space}
    games.close()
    torch.manual_seed(1)
    last = tmp_path / "checkpoints" / "last"
    QNetwork(**spaces, model_config=MLP | {"dueling": True}).save_to_path(last / MODULE)
    (last / PROGRESS_JSON).write_text("{}")
    write_weights(last)
    write_manifest(last)
    assert record(tmp_path, 1, way="greedy", look=SMALL) == 0
    replay = read_replay(recordings(tmp_path)[0])
    assert replay.policy_kind == "q_values" and replay.entropy is None
    assert np.array_equal(replay.values, replay.policy.max(1))
    assert np.array_equal(replay.actions, replay.policy.argmax(1)) and recordings(tmp_path)[0].stem.startswith(
        "last_gr"
    )


@pytest.mark.parametrize(("name", "size"), [("CartPole-v1", (600, 400)), ("Pendulum-v1", (500, 500))])
def test_gymnasium_s_own_environments_are_drawn(name, size, make_run):
    pytest.importorskip("pygame", reason="requirements.txt has it")
    run = make_run(name)
    assert record(run, 1) == 0
    with av.open(str(recordings(run, "mp4")[0])) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == size
        assert len(list(file.decode(video=0))) == len(read_replay(recordings(run)[0]).actions)


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_an_existing_file_is_never_overwritten(make_run, capsys):
    run = make_run("Drawn-v0")
    words = ["command=record", f"run={run}", "games=1", "format=gif"]
    for _ in range(3):
        assert command_line.main(words) == 0
    stem = "last_stochastic_seed_1_game_1"
    names = [f"{stem}{more}" for more in ("", "_2", "_3")]
    assert [path.stem for path in recordings(run)] == [path.stem for path in recordings(run, "gif")] == names
    before = {path: path.read_bytes() for path in (run / "recordings").iterdir()}
    assert command_line.main(["command=record", f"replay={recordings(run)[0]}", "format=gif"]) == 0
    assert {path: path.read_bytes() for path in before} == before and len(recordings(run, "gif")) == 4
    assert not recordings(run, "new")


def test_two_processes_that_film_one_replay_write_two_videos(make_run):
    run = make_run("Drawn-v0")
    assert record(run, 1, look=SMALL) == 0
    (path,) = recordings(run)
    replay, others = read_replay(path), []

    def film_too():
        if not others:
            others.append("begun")
            others.append(make_video(replay, path, VideoFormat("mp4"), lambda: None))

    one = make_video(replay, path, VideoFormat("mp4"), film_too)
    assert [one.name, others[1].name] == [f"{path.stem}.mp4", f"{path.stem}_2.mp4"]
    for video in (one, others[1]):
        with av.open(str(video)) as file:
            assert len(list(file.decode(video=0))) == 10
    assert not recordings(run, "new")


def test_a_replay_is_found_by_its_name_in_a_run_and_scored_without_the_agent(make_run, capsys):
    run = make_run("Drawn-v0")
    assert record(run, 1, look=SMALL) == 0
    for path in (run / "checkpoints", run / "config.yaml"):
        path.rename(path.with_name("elsewhere_" + path.name))
    capsys.readouterr()
    words = ["command=record", f"run={run}", "replay=last_stochastic_seed_1_game_1.npz", "format=webp"]
    assert command_line.main(words) == 0
    score = f"score {read_replay(recordings(run)[0]).score:,g} "
    assert score in capsys.readouterr().out and len(recordings(run, "webp")) == 1


def test_a_replay_that_scores_something_else_is_said_and_leaves_no_video(make_run, capsys):
    run = make_run("Unsteady-v0")
    assert record(run, 1) == 1
    assert "scores" in capsys.readouterr().out and len(recordings(run)) == 1
    assert not recordings(run, "mp4") and not recordings(run, "new")
    assert command_line.main(["command=record", f"replay={recordings(run)[0]}"]) == 1


def test_a_picture_is_a_copy_without_transparency_and_has_three_colours(monkeypatch):
    env, canvas = {"id": "Drawn-v0"}, np.zeros((33, 47, 4), np.uint8)
    monkeypatch.setattr(Drawn, "render", lambda self: canvas)
    game = Environment(env, 0, pictures=True)
    before = game.read_screen()
    canvas[:] = 255
    assert before.shape == (33, 47, 3) and not before.any() and game.read_screen().all()
    canvas = np.zeros((33, 47, 5), np.uint8)
    with pytest.raises(Mistake, match="no pictures"):
        Environment(env, 0, pictures=True)


def test_an_environment_that_cannot_be_opened_is_not_one_without_pictures(monkeypatch):
    assert has_pictures({"id": "Drawn-v0", "name": "drawn"}) and not has_pictures({"id": "Scripted-v0", "name": "x"})
    with pytest.raises(Mistake, match="No module named 'nowhere'"):
        has_pictures({"id": "nowhere:Drawn-v0", "name": "drawn"})
    monkeypatch.setattr(Drawn, "render", lambda self: 1 / 0)
    assert not has_pictures({"id": "Drawn-v0", "name": "drawn"})


@pytest.mark.parametrize("world", [Scripted, "no pictures", "raises"])
def test_an_environment_without_pictures_is_refused_before_it_is_played(world, make_run, monkeypatch):
    monkeypatch.setattr("recordings.recording.play_replays", lambda *_: pytest.fail("it was played"))
    if world == "no pictures":
        monkeypatch.setattr(Drawn, "render", lambda self: None)
    if world == "raises":
        monkeypatch.setattr(Drawn, "render", lambda self: 1 / 0)
    name = "Scripted-v0" if world is Scripted else "Drawn-v0"
    with pytest.raises(Mistake, match=f"env.id={name}") as caught:
        record(run := make_run(name), 1)
    assert "\n" not in str(caught.value) and not (run / "recordings").exists()


def test_a_run_directory_that_cannot_be_written_is_refused_before_it_is_played(make_run, monkeypatch):
    run = make_run("Drawn-v0")
    (run / "recordings").write_text("a file in the way")
    monkeypatch.setattr("recordings.recording.play_replays", lambda *_: pytest.fail("it was played"))
    with pytest.raises(Mistake, match="run="):
        record(run, 1)


def test_a_full_disk_is_said_before_anything_is_played(make_run, monkeypatch):
    def fail(**_):
        raise OSError(28, "No space left on device")

    run = make_run("Drawn-v0")
    monkeypatch.setattr("recordings.recording.play_replays", lambda *_: pytest.fail("it was played"))
    monkeypatch.setattr("tempfile.TemporaryFile", fail)
    with pytest.raises(Mistake, match="No space left"):
        record(run, 1)
    assert not (run / "recordings").exists()


def test_replays_are_saved_before_anything_is_filmed(make_run, monkeypatch):
    """Filming can take long, be interrupted, or fail with an error of the environment."""
    run = make_run("Drawn-v0")
    monkeypatch.setattr("recordings.recording.MAX_ENVS", 2)
    monkeypatch.setattr("recordings.recording.film_replay", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        record(run, 3)
    assert len(recordings(run)) == 3


def test_games_that_have_ended_are_saved_while_others_are_played(make_run, monkeypatch):
    run, opened = make_run("Drawn-v0"), Agent.open_games
    monkeypatch.setattr("recordings.recording.MAX_ENVS", 2)

    def stop(agent, *words, **named):
        if recordings(run):
            raise KeyboardInterrupt
        return opened(agent, *words, **named)

    monkeypatch.setattr(Agent, "open_games", stop)
    with pytest.raises(KeyboardInterrupt):
        record(run, 4)
    assert len(recordings(run)) == 2


def test_a_disk_without_room_is_said_and_leaves_nothing_half_written(make_run, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "full disk")

    run = make_run("Drawn-v0")
    monkeypatch.setattr("os.replace", fail)
    assert record(run, 2, look=SMALL) == 1
    printed = capsys.readouterr().out
    assert printed.count("full disk") == 4 and printed.count("score ") == 2
    assert not recordings(run, "npz") and not recordings(run, "gif")


@pytest.mark.parametrize("format", ["mp4", "webp", "gif"])
def test_a_full_disk_while_a_video_is_written_is_an_oserror(format, make_run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("recordings.video.reserve_path", lambda path: tmp_path / "full")
    (tmp_path / "full.new").symlink_to("/dev/full")
    assert record(make_run("Drawn-v0"), 1, look=VideoFormat(format)) == 1
    assert "was not saved" in capsys.readouterr().out and not (tmp_path / "full.new").is_symlink()


def test_a_checkpoint_that_is_not_there_or_damaged_is_refused(make_run, capsys):
    run = make_run("Drawn-v0")
    assert command_line.main(["command=record", f"run={run}", "checkpoint=best"]) == 2
    (run / "checkpoints" / "last" / PROGRESS_JSON).write_text("[]")
    assert command_line.main(["command=record", f"run={run}"]) == 2
    assert capsys.readouterr().err.count("\n") == 2 and not (run / "recordings").exists()


def test_of_several_seeds_the_first_plays_and_that_is_said(make_run, tmp_path, capsys):
    for seed in (10, 2):
        make_run("Drawn-v0", name=f"parent/seed_{seed}", seed=seed)
    assert record(tmp_path / "parent", 1, look=SMALL) == 0
    assert "2 seeds" in (printed := capsys.readouterr().out) and "seed_2" in printed
    (name,) = [path.name for path in recordings(tmp_path / "parent/seed_2")]
    assert find_replay(name, tmp_path / "parent") == tmp_path / "parent/seed_2/recordings" / name
    assert not (tmp_path / "parent/seed_10/recordings").exists()


def test_another_protocol_and_seed_name_the_recording(make_run):
    run = make_run(env=SHORT, model=NATURE)
    rules = {"sticky": 0.25, "max_episode_frames": 120}
    assert record(run, 1, seed=7, way="greedy", rules=rules, look=SMALL) == 0
    assert recordings(run)[0].stem == "last_greedy_sticky_0.25_seed_7_game_1"
    assert read_replay(recordings(run)[0]).env["sticky"] == 0.25


# Environments of one's own.

OWN = {"name": "own", "frameskip": 1, "clip_rewards": False, "wrappers": ["tests.environments.own_worlds:Doubled"]}
OWN_WORLDS = {  # -> numbers of the policy, shape of an action, values of its factors
    "Matching": (9, (3,), [3, 2, 4]),
    "Switches": (8, (4,), [2, 2, 2, 2]),
    "Board": (11, (4,), [2, 3, 4, 2]),
    "Parts": (3, (), []),
    "Matrix": (8, (4,), []),
}


@pytest.mark.parametrize("world", OWN_WORLDS)
def test_games_of_every_kind_of_action_are_kept_proven_and_filmed(world, make_run):
    width, shape, factors = OWN_WORLDS[world]
    run = make_run(env=OWN | {"id": f"tests.environments.own_worlds:{world}-v0"})
    assert record(run, 2, look=SMALL) == 0  # 1 if a replay does not score what was played
    for path in recordings(run):
        replay = read_replay(path)
        assert replay.policy.shape == (8, width) and replay.actions.shape == (8, *shape) and replay.factors == factors
        assert path.with_suffix(".gif").exists() and replay.env["wrappers"] == OWN["wrappers"]
        if factors:
            parts = np.split(replay.policy, np.cumsum(factors)[:-1], axis=1)
            assert all(np.allclose(part.sum(1), 1, atol=1e-5) for part in parts)
            played = np.take_along_axis(replay.policy, list_played(replay.actions, factors), 1)
            assert (played > 0).all() and np.isclose(replay.entropy, -sum((p * np.log(p)).sum(1) for p in parts)).all()
            assert [label.split(":")[0] for label in label_policy(replay)[0]] == [
                f"part {i}" for i, size in enumerate(factors, 1) for _ in range(size)
            ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"factors": [3, 2]}, "probability"), ({"factors": [2, 2, 5]}, "factors"), ({"factors": "9"}, "factors")],
)
def test_a_replay_with_other_factors_than_its_actions_is_refused(changes, named, make_run, tmp_path):
    run = make_run(env=OWN | {"id": "tests.environments.own_worlds:Matching-v0"}, bias=[0, 0, 9.0, 0, 9, 0, 0, 0, 9])
    assert record(run, 1, look=SMALL) == 0
    replay = read_replay(recordings(run)[0])
    (tmp_path / "other.npz").write_bytes(pack_replay(dataclasses.replace(replay, **changes)))
    with pytest.raises(Mistake, match=named):
        read_replay(tmp_path / "other.npz")


@pytest.mark.parametrize("world", ["Catch", "Screens", "Wide"])
def test_pictures_of_every_shape_are_played_and_filmed(world, make_run):
    model = {"torso": "minigrid_cnn", "hidden": 16, "activation": "relu"}
    env = OWN | {"id": f"tests.environments.own_worlds:{world}-v0", "frame_stack": 2}
    run = make_run(env=env, model=model)
    assert record(run, 1, look=SMALL) == 0
    assert evaluate(run, episodes=2, ways=("greedy",))["greedy"]["mean"] is not None


def test_a_game_that_ends_in_the_middle_of_a_picture_is_filmed_to_its_end(monkeypatch):
    """At 30 pictures a second each takes two frames; the last agent step of a game may have three."""
    screen, sound = np.zeros((2, 2, 3), np.uint8), np.zeros(512, np.uint8)
    steps = [StepResult([screen] * frames, sound, 0.0, False, False) for frames in (4, 3)]
    monkeypatch.setattr("recordings.video.replay_game", lambda *_: iter(steps))

    class Recorded:
        env = {"game": "pong"}

    pictures = list(iterate_pictures(Recorded(), None, 2))
    assert [len(picture.sound) for picture in pictures] == [512, 0, 512, 0]
