"""Games of all arms side by side, after equal training: a row for each milestone, in it a clip of each arm.

    runs -> milestones and their agent steps -> rows -> clips, until the page is full -> HTML

A milestone is a percentage of the budget of its own run. Arms with different budgets therefore reach the same agent
steps at different milestones; a row is about agent steps, and each clip says which milestone it shows.
"""

import html
import math
import tempfile
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from comparisons.comparison import Comparison
from comparisons.run_groups import Run
from playing.games_display import GamesDisplay
from run_directory.checkpoints import read_totals
from run_directory.layout import PERCENTAGES
from settings.mistakes import EnvironmentFault, Mistake, format_count

MAX_ARMS = 8  # of a game with clips
MAX_CLIPS = 96  # of a page
MAX_BYTES = 16_000_000  # of all clips of a page, but for the first row, which is there however large it is
NEAR = 2.0  # the factor by which the agent steps of a clip may differ from those of its row


class Clip(NamedTuple):
    """One game to be filmed: of the first seed of an arm, with the weights of one of its milestones."""

    label: str
    run: Run
    checkpoint: Path
    agent_steps: int


class Row(NamedTuple):
    """The clips of all arms after about the same number of agent steps."""

    agent_steps: int
    clips: list[Clip]


def film_comparisons(comparisons: list[Comparison], console: Console | None) -> list[list[str]]:
    """Film the arms of each game at equal agent steps, as far as they kept milestones and the page has room.

    The last rows of all games are filmed first, then the first ones, then those between from the end.

    Returns:
        HTML for each comparison; nothing where no clip can be made.
    """
    notes: list[list[str]] = [[] for _ in comparisons]
    rows = [choose_rows(one, notes[index]) for index, one in enumerate(comparisons)]
    places = [
        (rank_row(row, len(of_game)), game, row) for game, of_game in enumerate(rows) for row in range(len(of_game))
    ]
    figures: dict[tuple[int, int], list[str]] = {}
    total = sum(len(row.clips) for of_game in rows for row in of_game)
    num_bytes, num_clips = 0, 0
    with GamesDisplay(min(total, MAX_CLIPS), console) as display, tempfile.TemporaryDirectory() as folder:
        for _, game, row in sorted(places):
            chosen = rows[game][row].clips
            if num_bytes >= MAX_BYTES or num_clips + len(chosen) > MAX_CLIPS:
                continue
            display.begin(f"the comparison, {comparisons[game].name}")
            num_clips += len(chosen)  # those that are left out take time too
            filmed = [film_arm(clip, display, Path(folder)) for clip in chosen]
            size = sum(map(len, filmed))
            if not figures or num_bytes + size <= MAX_BYTES:
                figures[game, row] = filmed
                num_bytes += size
    parts = []
    for game, of_game in enumerate(rows):
        kept = [(row, figures[game, index]) for index, row in enumerate(of_game) if (game, index) in figures]
        if left := len(of_game) - len(kept):
            notes[game].append(
                f"{format_count(left, 'milestone')} left out, so that the page stays small enough to send."
            )
        parts.append(write_clips(kept, notes[game]) if of_game or notes[game] else [])
    return parts


def rank_row(row: int, rows: int) -> int:
    """Return the place of a row in the order of filming: the last one, the first one, those between from the end."""
    return 0 if row == rows - 1 else 1 if row == 0 else rows - row


def choose_rows(comparison: Comparison, notes: list[str]) -> list[Row]:
    """Return the rows of a game: the milestones of the arm that was trained for the fewest agent steps, and for each
    the nearest milestone of every other arm.

    Args:
        comparison: of the game.
        notes: sentences on arms without clips are added.
    """
    from recordings.replayed_game import has_pictures  # it plays, and its imports take seconds

    if not has_pictures(comparison.env):
        return []
    if len(comparison.arms) > MAX_ARMS:
        notes.append(f"More than {MAX_ARMS} arms are not filmed.")
        return []
    found = {
        label: clips for label, of_arm in comparison.arms.items() if (clips := list_clips(label, of_arm[0], notes))
    }
    if not found:
        return []
    shortest = min(found.values(), key=lambda clips: clips[-1].agent_steps)
    rows = []
    for one in shortest:
        near = [min(clips, key=lambda clip: measure_distance(clip, one)) for clips in found.values()]
        rows.append(Row(one.agent_steps, [clip for clip in near if measure_distance(clip, one) <= math.log(NEAR)]))
    return rows


def measure_distance(first: Clip, second: Clip) -> float:
    """Return how far the agent steps of two clips are apart: the logarithm of their ratio; untrained counts as 1."""
    return abs(math.log(max(1, first.agent_steps)) - math.log(max(1, second.agent_steps)))


def list_clips(label: str, run: Run, notes: list[str]) -> list[Clip]:
    """Return a clip for each milestone of a run, and for its end; none where it kept no milestones."""
    from pages.run_games import choose_clips

    try:
        checkpoints = choose_clips(run.path)
    except Mistake as mistake:
        notes.append(f"{label}: {mistake}")
        return []
    if not checkpoints:
        notes.append(f"{label}: no milestones were kept (keep_milestones), so there are no clips of it.")
    return [Clip(label, run, one, int(read_totals(one).get("agent_steps", 0))) for one in checkpoints]


def film_arm(clip: Clip, display: GamesDisplay, folder: Path) -> str:
    """Play and film the beginning of a game with the weights of a clip.

    Returns:
        A <figure> of HTML with the video and a caption; if the game cannot be played or filmed, with the reason alone.
    """
    from pages.run_games import film_clip
    from recordings.replayed_game import ReplayMismatch

    try:
        filmed = film_clip(clip.run.path, clip.checkpoint, display, folder)
        video = f'<video src="{filmed["video"]}" muted loop autoplay playsinline></video>'
        text = filmed["text"]
    except (Mistake, EnvironmentFault, ReplayMismatch, OSError) as error:
        video, text = "", f"no clip: {error}"
    caption = f"{describe_milestone(clip)}, seed {clip.run.settings['seed']}; {text}"
    return f"<figure>{video}<figcaption><b>{html.escape(clip.label)}</b>{html.escape(caption)}</figcaption></figure>"


def describe_milestone(clip: Clip) -> str:
    """Return what the weights of a clip are: `10 % of its 1,000,000 agent steps`, `its last checkpoint`."""
    name, budget = clip.checkpoint.name, clip.run.settings.get("stop", {}).get("agent_steps")
    if name not in PERCENTAGES:
        return f"its last checkpoint, after {clip.agent_steps:,} agent steps"
    if budget and clip.agent_steps < budget * PERCENTAGES[name] / 100:  # the run went on with a larger budget
        return f"{name}, after {clip.agent_steps:,} agent steps"
    of = f" of its {budget:,} agent steps" if budget else " of its budget"
    return f"{PERCENTAGES[name]} %{of}, after {clip.agent_steps:,}"


def write_clips(rows: list[tuple[Row, list[str]]], notes: list[str]) -> list[str]:
    """Return the rows as HTML, each with its figures; the last one is open, the others open at a click."""
    parts = ["<h2>Games</h2>"]
    if rows:
        parts.append('<p class="dim">The first 20 seconds of a game after equal training, of one seed of each arm.</p>')
    for index, (row, figures) in enumerate(rows):
        is_open = " open" if index == len(rows) - 1 else ""
        title = f"After {row.agent_steps:,} agent steps" if row.agent_steps else "Before training"
        parts.append(f"<details{is_open}><summary>{title}</summary>")
        parts.append(f'<div class="row clips">{"".join(figures)}</div></details>')
    return parts + [f'<p class="dim">{html.escape(note)}</p>' for note in notes]
