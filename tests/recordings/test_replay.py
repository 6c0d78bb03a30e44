"""Replays: a game that is played again from its actions is the game that was played, and a damaged file is no game."""

import io
import json
import pickle
import zipfile
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

import run as command_line
from environments.games import make_games
from recordings.replay import Replay, pack_replay, read_replay
from recordings.replayed_game import ReplayMismatch, open_game, replay_game
from settings.mistakes import Mistake
from settings.protocols import PROTOCOLS

PICTURE = {"frameskip": 4, "frame_stack": 4, "dim": 84, "grayscale": True}


def atari(game: str, protocol: str, **changes) -> dict:
    """The `env.` settings of a game under a protocol; as in an evaluation a lost life ends nothing."""
    rules = PROTOCOLS[protocol] | {"life_loss": False} | changes
    return {"name": game, "game": game, "protocol": protocol, **PICTURE, **rules}


def play_at_random(env: dict, num_games: int, seed: int) -> list[tuple[Replay, np.ndarray]]:
    """Play games side by side, env n with the seed `seed + n`; return each as a replay, with the frame numbers."""
    games, rng = make_games(env, num_games, 1, one_by_one=True), np.random.default_rng(seed)
    games.reset(seed)
    rows, length, cut = [], np.zeros(num_games, int), np.zeros(num_games, bool)
    discrete = isinstance(games.action_space, gymnasium.spaces.Discrete)
    while not length.all():
        if discrete:
            actions = rng.integers(games.action_space.n, size=num_games)
        else:
            actions = rng.normal(0, 3, (num_games, *games.action_space.shape)).astype(np.float32)
        played, decided = games.played_actions(actions), ~games.ignores_next
        step = games.step(actions)
        frames = games._frame_number if "game" in env else np.zeros(num_games)
        rows.append((played, decided, step.rewards.astype(float), frames))
        over = step.finished & (length == 0)
        length[over], cut[over] = len(rows), (step.truncated & ~step.terminated)[over]
    games.close()
    found = []
    for n in range(num_games):
        actions, decided, rewards, frames = (np.stack(column)[: length[n], n] for column in zip(*rows, strict=True))
        start = int(games.start_frames[n]) if "game" in env else 0
        thought = {
            "policy": np.ones((length[n], max(1, len(games.action_names))), np.float32),
            "values": None,
            "entropy": None,
        }
        words = (games.action_names, "probabilities", float(rewards.sum()), bool(cut[n]), {})
        found.append((Replay(env, seed + n, start, *words, actions, decided, rewards, **thought), frames))
    return found


@pytest.mark.parametrize(
    ("num_games", "fewest_steps"), [(1, 2_500), pytest.param(3, 10_000, marks=pytest.mark.end_to_end)]
)
def test_whole_games_are_replayed_reward_by_reward_and_frame_by_frame(num_games, fewest_steps):
    """Three ROMs, both protocols; the last step of a game resets the vector env's frame number."""
    steps, forced = 0, 0
    games = [("assault", "classic"), ("assault", "machado"), ("breakout", "classic"), ("breakout", "machado")]
    for number, (game, protocol) in enumerate([*games, ("pong", "classic"), ("pong", "machado")]):
        played = play_at_random(atari(game, protocol), num_games + (game == "breakout"), seed=100 * number)
        for replay, frames in played:
            emulator, numbers = open_game(replay, pictures=False), []
            moments = []
            for moment in replay_game(replay, emulator):  # raises where anything differs
                moments.append(moment)
                numbers.append(emulator._ale.getEpisodeFrameNumber())
            assert [moment.reward for moment in moments] == replay.rewards.tolist()
            assert numbers[:-1] == frames[:-1].tolist()
            assert moments[-1].terminated and not any(moment.terminated for moment in moments[:-1])
            steps, forced = steps + len(moments), forced + int((~replay.decided).sum())
    assert steps >= fewest_steps and forced > 0


def test_a_game_that_the_limit_cuts_is_cut_at_the_same_frame():
    for replay, _ in play_at_random(atari("assault", "classic", max_episode_frames=402), 2, seed=3):
        moments = list(replay_game(replay, open_game(replay)))
        assert replay.cut and moments[-1].truncated and not moments[-1].terminated
        assert len(moments) == 101 and sum(len(moment.frames) for moment in moments) == 402


def test_frames_are_in_colour_and_sound_is_512_samples_a_frame_and_neither_changes_the_game():
    replay, _ = play_at_random(atari("assault", "classic", max_episode_frames=400), 1, seed=3)[0]
    moments = list(replay_game(replay, open_game(replay, sound=True)))
    for moment in moments:
        assert len(moment.frames) == 4 and len(moment.sound) == 4 * 512
        assert all(frame.shape == (210, 160, 3) and frame.dtype == np.uint8 for frame in moment.frames)
    assert (moments[0].frames[0] != moments[-1].frames[-1]).any()
    assert moments[-1].frames[0].std(-1).max() > 20, "no colour"
    assert max(moment.sound.max() for moment in moments) > 150


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_gymnasium_s_own_games_are_replayed_by_gymnasium_make(name):
    env = {"name": name, "id": name, "frameskip": 1, "clip_rewards": False}
    played = play_at_random(env, 3, seed=11)
    assert len({replay.score for replay, _ in played}) > 1
    for replay, _ in played:
        moments = list(replay_game(replay, open_game(replay, pictures=False)))
        assert [moment.reward for moment in moments] == replay.rewards.tolist()
        assert (moments[-1].terminated, moments[-1].truncated) == (name[0] == "C", name[0] == "P")


@pytest.mark.parametrize("change", ["another seed", "no start", "an action", "a reward", "a step less", "not cut"])
def test_a_game_that_is_not_the_recorded_one_is_noticed(change):
    replay, _ = play_at_random(atari("assault", "classic", max_episode_frames=1200), 1, seed=5)[0]
    actions, rewards = (array.copy() for array in (replay.actions, replay.rewards))
    actions[:40], rewards[7] = 3, 1.0
    changed = {
        "another seed": {"env": replay.env | {"sticky": 0.25}, "seed": 6},
        "no start": {"start_frame": 200},
        "an action": {"actions": actions},
        "a reward": {"rewards": rewards},
        "a step less": {"actions": replay.actions[:-1], "rewards": replay.rewards[:-1]},
        "not cut": {"cut": False},
    }[change]
    other = replace(replay, **changed)
    with pytest.raises(ReplayMismatch) as caught:
        list(replay_game(other, open_game(other, pictures=False)))
    assert "ale-py" in str(caught.value) and "agent step" in str(caught.value)


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole():
    replay, _ = play_at_random(atari("assault", "classic", max_episode_frames=200), 1, seed=5)[0]
    return replace(replay, values=np.zeros(50, np.float32), entropy=np.ones(50, np.float32), origin={"run": "here"})


def equal(one: Replay, other: Replay) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


def refusal(path, content: bytes, capsys) -> str:
    """The sentence that command=record says of a file."""
    path.write_bytes(content)
    assert command_line.main(["command=record", f"replay={path}", "format=gif"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said
    return said


def test_what_is_written_is_read(whole, tmp_path):
    (tmp_path / "game.npz").write_bytes(pack_replay(whole))
    assert equal(read_replay(tmp_path / "game.npz"), whole)


def pack_zip(**files: bytes) -> bytes:
    """A zip file that no numpy has written."""
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return packed.getvalue()


def test_a_file_that_is_no_recording_is_refused_in_words_of_the_suite(whole, tmp_path, capsys):
    """numpy advises to open such files with allow_pickle=True, which would run what is in them."""
    np.save(array := io.BytesIO(), np.zeros(3))
    np.savez(other := io.BytesIO(), weights=np.zeros(3))
    np.savez(pickled := io.BytesIO(), header=np.array([{"a": 1}], dtype=object))
    files = [b"a text file\n", b"", pickle.dumps({"a": 1}), array.getvalue(), other.getvalue(), pickled.getvalue()]
    files += [pack_zip(text=b"a text file"), pack_replay(whole)[:-30], changed_file(whole, drop="actions")]
    files += [changed_file(whole, {"env": {"id": 3}}), changed_file(whole, rewards=np.array(["x"] * 50))]
    for content in files:
        said = refusal(tmp_path / "game.npz", content, capsys)
        assert "no recording of this suite" in said and "pickle" not in said.lower(), said
        assert not any(word in said for word in ("Error", "__init__", "argument", "loaded")), said


def test_a_damaged_file_is_one_sentence_or_the_same_game(whole, tmp_path, capsys):
    data, path = pack_replay(whole), tmp_path / "game.npz"
    for junk in (b"", b"junk", bytes(len(data)), data[: len(data) // 2], data[:-30], b"\x93NUMPY" + data):
        refusal(path, junk, capsys)
    np.save(array := io.BytesIO(), np.zeros(3))
    refusal(path, array.getvalue(), capsys)
    refused = 0
    for position in np.random.default_rng(0).integers(len(data), size=150):
        flipped = bytearray(data)
        flipped[position] ^= 1 << int(position % 8)
        path.write_bytes(flipped)
        try:
            assert equal(read_replay(path), whole)  # a date in the zip, for example
        except Mistake as mistake:
            assert "\n" not in str(mistake)
            refused += 1
    assert refused > 100


def changed_file(whole: Replay, header: dict | None = None, drop: str = "", **arrays) -> bytes:
    """The file of a replay with other things in it."""
    with np.load(io.BytesIO(pack_replay(whole))) as file:
        content = {name: file[name] for name in file.files if name != drop}
    content["header"] = np.array(json.dumps(json.loads(str(content["header"])) | (header or {})))
    np.savez(changed := io.BytesIO(), **(content | arrays))
    return changed.getvalue()


def refuse(path, content: bytes) -> None:
    """Assert that a file is refused when it is read."""
    path.write_bytes(content)
    with pytest.raises(Mistake, match=f"replay={path} "):
        read_replay(path)


@pytest.mark.parametrize(
    "header",
    [
        *({name: value} for name in ("seed", "start_frame") for value in (-1, 2**40, "1", None, 1.5)),
        *({"env": value} for value in ({}, [], None, {"id": 3}, {"game": "assault"})),
        *({"action_names": value} for value in ([], ["NOOP"], ["NONSENSE"] * 7, 7, [3] * 7, [["NOOP"]] * 7)),
        *({"score": value} for value in (float("nan"), "much", 10**9)),
        *({name: 7} for name in ("policy_kind", "cut", "origin", "version", "unknown")),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused_before_anything_is_opened(header, whole, tmp_path):
    refuse(tmp_path / "game.npz", changed_file(whole, header))


@pytest.mark.parametrize(
    "rules",
    [{"game": "combat"}, {"game": "../assault"}, {"game": None}, {"frameskip": 0}, {"frameskip": 10**6}]
    + [{"sticky": 2}, {"sticky": "0"}, {"fire_reset": 1}, {"max_episode_frames": 0}],
    ids=str,
)
def test_a_rule_that_there_is_not_is_refused(rules, whole, tmp_path):
    refuse(tmp_path / "game.npz", changed_file(whole, {"env": whole.env | rules}))


@pytest.mark.parametrize(
    "arrays",
    [
        {"actions": np.full(50, 7)},
        {"actions": np.full(50, -1)},
        {"actions": np.zeros(49, int)},
        {"actions": np.zeros((50, 2), int)},
        {"actions": np.zeros(50)},
        {"actions": np.array(["x"] * 50)},
        {"rewards": np.full(50, np.nan)},
        {"rewards": np.zeros(0)},
        {"policy": np.ones(50, np.float32)},
        {"policy": np.ones((50, 6), np.float32)},
        {"values": np.full(50, np.inf, np.float32)},
        {"entropy": np.ones(3, np.float32)},
        {"decided": np.ones(50)},
        {"more": np.ones(50)},
    ],
    ids=lambda arrays: f"{next(iter(arrays))}",
)
def test_an_array_that_cannot_be_is_refused(arrays, whole, tmp_path):
    refuse(tmp_path / "game.npz", changed_file(whole, **arrays))


@pytest.mark.parametrize("name", ["header", "actions", "decided", "rewards", "policy"])
def test_a_file_without_an_array_is_refused(name, whole, tmp_path):
    content = changed_file(whole, drop=name) if name != "header" else without_header(whole)
    refuse(tmp_path / "game.npz", content)


def without_header(whole: Replay) -> bytes:
    """The file of a replay, arrays only."""
    np.savez(found := io.BytesIO(), actions=whole.actions, rewards=whole.rewards)
    return found.getvalue()


def test_pickles_in_a_file_are_not_loaded(whole, tmp_path, capsys):
    bad = np.empty(1, object)
    bad[0] = print
    refusal(tmp_path / "game.npz", changed_file(whole, extra=bad), capsys)


def test_an_environment_that_is_not_there_is_said(whole, tmp_path, capsys):
    env = {"id": "Nowhere-v0", "name": "nowhere"}
    header = {"env": env, "action_names": []}
    (tmp_path / "game.npz").write_bytes(changed_file(whole, header))
    assert command_line.main(["command=record", f"replay={tmp_path / 'game.npz'}"]) == 2
    assert "env.id=Nowhere-v0" in capsys.readouterr().err


def test_a_file_that_is_not_there_or_a_folder_is_said(tmp_path, capsys):
    for path in (tmp_path / "gone.npz", tmp_path):
        assert command_line.main(["command=record", f"replay={path}"]) == 2
        assert f"replay={path}" in capsys.readouterr().err
