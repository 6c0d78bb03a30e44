"""What a person sees while a run runs: a live table in a terminal, plain lines elsewhere."""

import io
import re

import pytest
from rich.console import Console

from runs import display
from runs.display import Display, SearchDisplay, format_duration, format_number, format_values

ROW = {
    "agent_steps": 1000,
    "env_frames": 4000,
    "wall_time_s": 10.0,
    "agent_steps_per_s": 123.4,
    "episodes": 7,
    "episode_return_mean": 21.53,
    "policy_loss": -0.0123,
    "value_loss": 0.5,
    "entropy": 1.945,
    "approx_kl": 0.0042,
    "clip_fraction": 0.137,
    "explained_variance": 0.25,
}


@pytest.fixture
def clock(monkeypatch):
    """Time that a test turns by hand."""
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=80)


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=200, legacy_windows=False)


def text_of(console: Console) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())


def test_outside_of_a_terminal_a_row_is_one_plain_line(clock):
    console = plain()
    with Display([1], 5000, console=console) as shown_to:
        shown_to.show_row(1, ROW)
    text = console.file.getvalue()
    assert text.count("\n") == 1 and "\x1b" not in text
    for words in ("agent steps 1,000", "steps/s 123", "score 21.5", "games 7", "time left 32 s"):
        assert words in text
    for words in ("policy loss -0.0123", "value loss 0.5", "entropy 1.945", "KL 0.0042", "clipped 13.7%"):
        assert words in text
    assert len(text) <= 160


def test_plain_lines_come_every_ten_seconds_and_at_the_end(clock):
    console = plain()
    with Display([1], 5000, console=console) as shown_to:
        for seconds, steps in [(0, 1000), (9, 2000), (10.5, 3000), (12, 4000), (13, 5000)]:
            clock[0] = 100 + seconds
            shown_to.show_row(1, ROW | {"agent_steps": steps})
    assert re.findall(r"agent steps ([\d,]+)", console.file.getvalue()) == ["1,000", "3,000", "5,000"]


def test_each_seed_has_lines_of_its_own(clock):
    console = plain()
    with Display([1, 2], 5000, console=console) as shown_to:
        for seed in (1, 2, 1):
            shown_to.show_row(seed, ROW)
    assert [line[:6] for line in console.file.getvalue().splitlines()] == ["seed 1", "seed 2"]


def test_in_a_terminal_the_newest_rows_stand_in_one_live_table():
    console = terminal()
    with Display([1, 2], 5000, console=console) as shown_to:
        shown_to.show_row(1, ROW)
        shown_to.show_row(2, ROW | {"agent_steps": 3000})
        shown_to.show_row(1, ROW | {"agent_steps": 2000})
        lines = shown_to.draw_progress(80).plain.splitlines()
    assert [line[:6] for line in lines[1:]] == ["seed 1", "seed 2"] and "40%" in lines[1] and "60%" in lines[2]
    assert lines[0].split() == ["done", "course", "score", "steps/s", "time", "left"] and "21.5" in lines[1]
    assert "\x1b" in console.file.getvalue() and "seed 2" in text_of(console)


def test_seeds_that_wait_for_room_are_named():
    shown_to = Display([1, 2, 3], 5000, console=plain())
    shown_to.show_row(1, ROW)
    last = shown_to.draw_progress(80).plain.splitlines()[-1]
    assert last.startswith("seed 2, 3:")
    for seed in (2, 3):
        shown_to.show_row(seed, ROW)
    assert shown_to.draw_progress(80).plain.splitlines()[-1].startswith("seed 3 ")


@pytest.mark.parametrize(("limit", "words"), [(None, ["20%"]), (40.0, ["of", "its", "time"])])
def test_the_bar_says_when_it_measures_time(limit, words):
    shown_to = Display([1], 5000, limit, console=plain())
    shown_to.show_row(1, ROW | {"agent_steps": 1000, "wall_time_s": 30.0})
    first = shown_to.draw_progress(80).plain.splitlines()[0].split()
    assert all(word in first for word in words) and ("time" in first) == (limit is not None)


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("seeds", [[1], [1, 2, 3]])
@pytest.mark.parametrize("steps", [1, 1_234_567, 10_000_000])
def test_the_picture_fits_any_width_from_sixty_columns(width, seeds, steps):
    shown_to = Display(seeds, 10_000_000, console=plain())
    row = ROW | {"agent_steps": steps, "episode_return_mean": 123_456.78, "agent_steps_per_s": 12_345.6}
    for seed in seeds:
        for score in range(300):
            shown_to.show_row(seed, row | {"episode_return_mean": 100.0 * score, "wall_time_s": 40_000.0})
    picture = shown_to.draw_progress(width).plain
    assert max(map(len, picture.splitlines())) <= width
    assert f"{steps / 1e7:.0%}" in picture and ("10,000,000" in picture or len(seeds) > 1)


def test_one_seed_shows_the_course_of_its_score_and_its_losses():
    shown_to = Display([1], 5000, console=plain())
    for score in (float("nan"), 1.0, 2.0, 8.0):
        shown_to.show_row(1, ROW | {"episode_return_mean": score})
    picture = shown_to.draw_progress(80).plain
    assert "▁▂█" in picture and re.search(r"score 8\.00, .*\b7\b.*\b7\b", picture)
    assert "policy loss -0.0123" in picture and "clipped 13.7%" in picture


def test_a_line_has_at_most_160_characters_and_leaves_out_what_matters_least(clock):
    console = plain()
    with Display([1, 2], 10**12, console=console) as shown_to:
        row = dict.fromkeys(ROW, 123456.789) | {"agent_steps": 10**11, "staleness": 12.0}
        shown_to.show_row(1, row)
    line = console.file.getvalue()
    assert len(line) <= 160 and "score 123,456.8" in line and "expl. var." not in line


def test_a_line_that_is_said_stays_above_the_live_table():
    console = terminal()
    with Display([1], 5000, console=console) as shown_to:
        shown_to.show_row(1, ROW)
        shown_to.print_line("seed 1: [bold]again[/bold]")
    text = text_of(console)
    assert text.rindex("agent steps") > text.index("seed 1: [bold]again[/bold]")


@pytest.mark.parametrize("console", [plain, terminal], ids=["plain", "terminal"])
def test_a_number_that_is_not_there_yet_is_a_dash(console):
    console = console()
    with Display([1], 5000, console=console) as shown_to:
        shown_to.show_row(1, {"agent_steps": 10, "wall_time_s": 1.0, "episode_return_mean": float("nan")})
    text = text_of(console)
    assert "nan" not in text.lower() and "-" in text
    assert format_number(float("nan"), "{:.1f}") == format_number(None, "{:.1f}") == "-"
    assert format_number(0.0, "{:.1f}") == "0.0"


def test_a_small_number_does_not_look_like_zero():
    assert [format_number(value, "{:.4f}") for value in (-3e-5, 0.00012, 0.0)] == ["-3e-05", "0.0001", "0.0000"]
    assert format_number(4e-4, "{:.1%}") == "0.0%"


@pytest.mark.parametrize(
    ("steps", "seconds", "left"),
    [
        (1000, 10.0, "40 s"),
        (2500, 100.0, "1 min 40 s"),
        (5, 10.0, "2 h 46 min"),
        (5000, 10.0, "0 s"),
        (6000, 1.0, "0 s"),
    ],
)
def test_time_left_follows_from_the_mean_speed_so_far(steps, seconds, left):
    assert read_time_left([{"agent_steps": steps, "wall_time_s": seconds}]) == left


def read_time_left(rows: list[dict]) -> str:
    """The time left that a terminal shows after some rows of a run of 5,000 agent steps."""
    shown_to = Display([1], 5000, console=terminal())
    for row in rows:
        shown_to.show_row(1, row)
    return re.search(r"%\s+(.*) left", shown_to.draw_progress(76).plain).group(1)


def make_rows(*moments: tuple[int, float, float]) -> list[dict]:
    """Rows of agent steps, seconds of training, and speed."""
    return [dict(zip(("agent_steps", "wall_time_s", "agent_steps_per_s"), moment, strict=True)) for moment in moments]


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        (make_rows((1000, 10_000.0, 100)), "40 s"),
        (make_rows((1000, 10_000.0, 100), (2000, 10_020.0, 50)), "57 s"),
        (make_rows((1000, 1000.0, 1), (3000, 21_000.0, 0.1), (4000, 22_000.0, 1)), "16 min 40 s"),
        (make_rows((3000, 300.0, 10), (4000, 310.0, 100), (1000, 100.0, 40)), "1 min 40 s"),
        (make_rows((1000, 100.0, 10), (900, 105.0, 10)), "6 min 50 s"),
    ],
    ids=["continued faster", "two rows", "ten minutes are enough", "back to a checkpoint", "back, and slowly"],
)
def test_time_left_does_not_follow_from_a_speed_of_long_ago(rows, left):
    assert read_time_left(rows) == left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (4805, "1 h 20 min"),
    ],
)
def test_durations_are_written_for_people(seconds, words):
    assert format_duration(seconds) == words


VALUES = {"algo.lr": 0.000312345, "algo.horizon": 64, "algo.baseline": "none"}


def test_outside_of_a_terminal_a_search_says_how_each_trial_ended_and_how_it_stands(clock):
    console = plain()
    with SearchDisplay(lambda: "standing", console) as search:
        search.num_expected = 3
        search.start_trial("trial 0", VALUES)
        search.update_trial("trial 0", 500, 40.0)
        clock[0] += 30
        search.end_trial("trial 0", "COMPLETE", 1024, 90.0)
        search.update_trial("trial 0", 1024, 90.0)  # its last report comes after its end
        search.start_trial("trial 1", {})
        search.end_trial("trial 1", "FAIL", 0, float("nan"), "ActorDiedError: dead")
        search.start_trial("trial 2", {})
        search.end_trial("trial 2", "COMPLETE", 1024, 80.0)
    lines = text_of(console).splitlines()
    assert re.search(r"^trial 0 .*\b1,024 .* 90\.0  ", lines[0]) and lines[0].endswith(format_values(VALUES))
    assert lines[1].startswith("standing, ") and lines[1].endswith("1 min 00 s")
    assert lines[-1] == "standing", "nothing is left"
    assert re.search(r"^trial 1 .*ActorDiedError: dead: - *$", lines[2])
    assert format_values(VALUES) == "algo.lr=0.0003123  algo.horizon=64  algo.baseline=none"


def test_the_time_left_of_a_search_counts_those_beside_it_as_half_done(clock):
    console = plain()
    with SearchDisplay(lambda: "standing", console) as search:
        search.num_expected = 6
        for label in ("trial 0", "trial 1"):
            search.start_trial(label, {})
        clock[0] += 600
        search.end_trial("trial 0", "COMPLETE", 1024, 90.0)  # 1.5 of 6 in ten minutes, so 4.5 in half an hour
        search.end_trial("trial 1", "COMPLETE", 1024, 80.0)
    lines = text_of(console).splitlines()
    assert lines[1].endswith(", time left 30 min 00 s") and lines[3].endswith(", time left 20 min 00 s")


def test_in_a_terminal_the_trials_under_way_are_a_table(clock):
    console = terminal()
    with SearchDisplay(lambda: "standing", console) as search:
        search.num_expected = 3
        search.start_trial("trial 0", VALUES)
        search.update_trial("trial 0", 500, 40.25)
        search._live.refresh()
    text = text_of(console)
    assert "time left" not in text and re.search(r"trial 0 +500 +40\.2 +algo\.lr=0\.0003123", text)


def test_a_search_at_80_columns_has_a_line_per_trial_and_no_head_without_rows(clock):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    with SearchDisplay(lambda: "1 of 2 trials: 1 complete; best 90.0 (trial 0)", console) as search:
        search.num_expected = 2
        search.start_trial("trial 0", VALUES | {"algo.entropy_coeff": 0.0102, "algo.gamma": 0.975})
        search._live.refresh()
        assert "algo.baseline=none" not in text_of(console) and "\N{HORIZONTAL ELLIPSIS}" in text_of(console)
        clock[0] += 30
        search.end_trial("trial 0", "COMPLETE", 1024, 90.0)
        search.start_trial("trial 1", {})
        search.end_trial("trial 1", "COMPLETE", 1024, 80.0)
        ended = text_of(console)
        search._live.refresh()
    last = text_of(console)[len(ended) :]
    assert "1 of 2 trials: 1 complete; best 90.0 (trial 0)" in last and "agent steps" not in last
    assert re.search(r"trial 0 came [^\n]*[^ \n] *\nalgo\.\S+=", ended), "the values are folded between two of them"
    assert "time left" not in last


def test_a_run_that_ends_by_its_time_is_shown_by_its_time():
    shown_to = Display([1], 200_000, time_s=240.0, console=plain())
    shown_to.show_row(1, ROW | {"agent_steps": 60_000, "wall_time_s": 236.0})
    picture = shown_to.draw_progress(80).plain
    assert "98%" in picture and "4 s left" in picture


def test_where_there_is_no_utf8_the_picture_is_in_ascii():
    console = Console(file=io.TextIOWrapper(io.BytesIO(), "latin-1"), force_terminal=True, width=80)
    with Display([1], 5000, console=console) as shown_to:
        for score in (1.0, 2.0, 8.0):
            shown_to.show_row(1, ROW | {"episode_return_mean": score})
        assert shown_to.draw_progress(60).plain.isascii() and "##--" in shown_to.draw_progress(60).plain


def test_an_evaluation_stands_in_the_table_of_a_single_seed_and_is_a_line_elsewhere():
    text = "evaluated at 1,000 agent steps: 20.0"
    shown_to = Display([1], 5000, console=terminal())
    with shown_to:
        shown_to.show_row(1, ROW)
        shown_to.show_evaluation("seed 1", text)
        assert text in shown_to.draw_progress(80).plain.splitlines()
        shown_to.show_row(1, ROW | {"agent_steps": 2000})
        assert text in shown_to.draw_progress(80).plain.splitlines()
    for seeds, console in ([1], plain()), ([1, 2], plain()), ([1, 2], terminal()):
        with Display(seeds, 5000, console=console) as shown_to:
            shown_to.show_row(1, ROW)
            shown_to.show_evaluation("seed 1", text)
        assert f"seed 1 {text}" in text_of(console)
