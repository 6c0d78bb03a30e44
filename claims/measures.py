"""Measures of learning curves: one number per seed, the larger or the smaller the better, as each says.

    rows of progress.csv -> scores of WINDOWS equal windows of agent steps -> area, final, oscillation, ...

The score of a window is the mean of the games that ended in it, not of the last hundred games, which would smooth an
agent's good and bad times into each other.
"""

import numpy as np

WINDOWS = 10
MIN_GAMES = 1e-6  # in a window that has a score; less is rounding
Progress = dict[str, np.ndarray]  # column of progress.csv -> float [R]
COLUMNS = ("agent_steps", "episodes", "wall_time_s", "recent_return_mean")  # that are read
MEASURES = {  # name -> what it is, for tables
    "area": "mean score over all windows: the area under the learning curve, divided by its length",
    "final": "score of the last two windows",
    "oscillation": "how far the score is below its best so far, as a share of the best; mean of the second half",
    "spread": "distance between a seed's final score and the median of its arm",
    "steps_to": "agent steps to the end of the first window that reaches the threshold; the budget where none does",
    "reached": "whether a window reaches the threshold: 1 or 0",
    "pace": "agent steps per second of training, from the first row to the last",
}
OF_A_THRESHOLD = ("steps_to", "reached")  # those that are measured only where a claim states a threshold


def compute_windows(progress: Progress, until: int, windows: int = WINDOWS) -> np.ndarray:
    """Return the score of each window: the mean of the games that ended in it.

    A row says how many games have ended since the row before, and not when: they are spread evenly over its agent
    steps. In the window of the row's end, all would come late, and an algorithm with few rows would seem to be slow.

    Args:
        progress: rows of one seed.
        until: agent steps of all windows together; what a row has beyond them is left out.
        windows: how many there are.

    Returns:
        float [windows]. A window in which no game ended has the score of the one before, or of the next one that has a
        score.
    """
    score, games = progress["recent_return_mean"], np.diff(progress["episodes"], prepend=0.0)
    edges, steps = np.linspace(0, until, windows + 1), np.insert(progress["agent_steps"], 0, 0.0)
    played, total = (
        np.diff(np.interp(edges, steps, np.insert(np.cumsum(values), 0, 0.0)))
        for values in (games, games * np.nan_to_num(score))
    )
    known = np.flatnonzero(played > MIN_GAMES)
    if not len(known):
        return np.full(windows, np.nan)
    before = np.searchsorted(known, np.arange(windows), side="right") - 1  # the last window with a game, or -1
    source = known[np.maximum(before, 0)]
    return total[source] / played[source]


def compute_oscillation(windows: np.ndarray) -> float:
    """Return how far a curve is below its best so far, as a share of the best: the mean of its second half.

    Returns:
        0 for a curve that never falls, 1 for one that is at 0 from the middle on, more below 0; nan where the best is
        not above 0 yet when the second half begins, since there is no share then.
    """
    best = np.maximum.accumulate(windows)
    half = slice(len(windows) // 2, None)
    if not (best[half] > 0).all():
        return np.nan
    return float(np.mean((best[half] - windows[half]) / best[half]))


def compute_steps_to(windows: np.ndarray, threshold: float, until: int) -> float:
    """Return the agent steps at the end of the first window that reaches a score; `until` where none does.

    A seed that never reaches it counts as if it did at the end, so the difference from a faster arm is understated.
    """
    reached = np.flatnonzero(windows >= threshold)
    return (reached[0] + 1) * until / len(windows) if len(reached) else float(until)


def compute_pace(progress: Progress, until: int) -> float:
    """Return agent steps per second of training, without the first row, in which processes warm up."""
    used = progress["agent_steps"] <= until
    steps, seconds = progress["agent_steps"][used], progress["wall_time_s"][used]
    return float((steps[-1] - steps[0]) / (seconds[-1] - seconds[0])) if len(steps) > 1 else np.nan


def measure_arm(seeds: list[Progress], until: int, threshold: float | None) -> dict[str, np.ndarray]:
    """Return the measures of an arm: name -> float [S], one number per seed.

    Args:
        seeds: the rows of each seed.
        until: the agent steps that are measured.
        threshold: see `compute_steps_to`; None leaves `steps_to` and `reached` out.
    """
    curves = [compute_windows(progress, until) for progress in seeds]
    final = np.array([curve[-2:].mean() for curve in curves])
    table = {
        "area": np.array([curve.mean() for curve in curves]),
        "final": final,
        "oscillation": np.array([compute_oscillation(curve) for curve in curves]),
        "spread": np.abs(final - np.median(final)),
        "pace": np.array([compute_pace(progress, until) for progress in seeds]),
    }
    if threshold is not None:
        table["steps_to"] = np.array([compute_steps_to(curve, threshold, until) for curve in curves])
        table["reached"] = np.array([float((curve >= threshold).any()) for curve in curves])
    return table
