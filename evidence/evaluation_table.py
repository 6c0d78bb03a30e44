"""The table of an evaluation, as it is printed: a row for each statistic, a column for each way of playing."""

from typing import Any

from rich.console import Console
from rich.table import Table

from environments.screen import format_score
from evidence.evaluate import WAYS
from settings.mistakes import format_count

STATISTICS = {  # key of a result -> its name in the table
    "mean": "mean",
    "mean_interval": "mean, 95 % interval",
    "median": "median",
    "iqm": "IQM",
    "iqm_interval": "IQM, 95 % interval",
    "std": "std",
    "min": "min",
    "max": "max",
    "mean_length": "mean length, agent steps",
}


def print_evaluation(result: dict[str, Any], console: Console | None = None) -> int:
    """Print the result of `evaluate`, one table for each seed.

    Returns:
        The exit code: 0, or 1 if a result could not be saved; the printed text gives the reason.
    """
    console = console or Console()
    for one in (results := result.get("seeds", [result])):
        ways = [way for way in WAYS if way in one]
        table = Table()
        table.add_column("score of full games")
        for way in ways:
            table.add_column(way, justify="right")
        for key, name in STATISTICS.items():
            table.add_row(name, *(format_number(one[way][key]) for way in ways))
        for name in one[ways[0]]["human_normalised"]:
            values = (f"{one[way]['human_normalised'][name]:.2f}" for way in ways)
            table.add_row(f"human-normalised, {name}", *values)
        console.print(describe_agent(one), table, sep="\n", highlight=False)
        for sentence in (*one["notes"], *describe_cut_games(one, ways), describe_file(one)):
            console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    return 0 if all(one["saved"] for one in results) else 1


def describe_agent(result: dict[str, Any]) -> str:
    """Return two lines that name the agent and its games."""
    steps = "an unknown number of" if result["agent_steps"] is None else f"{result['agent_steps']:,}"
    games = f"{format_count(result['episodes'], 'game')} each"
    if result["games_seed"] != result["seed"]:
        games += f", games of seed {result['games_seed']}"
    return (
        f"{result['algo']} on {result['env']}, protocol {result['protocol']}, seed {result['seed']}\n"
        f"{result['checkpoint']} checkpoint at {steps} agent steps, {games}"
    )


def describe_cut_games(result: dict[str, Any], ways: list[str]) -> list[str]:
    """Return a sentence for each way of playing in which the protocol's limit has cut games."""
    limit = result["rules"].get("max_episode_frames", 0)
    return [
        f"{way}: {cut} of {result['episodes']} games {'was' if cut == 1 else 'were'} cut at {limit:,} frames"
        for way in ways
        if limit and (cut := result[way]["cut"])
    ]


def describe_file(result: dict[str, Any]) -> str:
    """Return a sentence that names the file of a result, or the reason why there is none."""
    return f"result: {result['saved']}" if result["saved"] else f"the result was not saved: {result['not_saved']}"


def format_number(value: float | list[float] | None) -> str:
    """Return a score, or the two ends of an interval; a dash for None."""
    if value is None:
        return "-"
    return " to ".join(format_score(v) for v in (value if isinstance(value, list) else [value]))
