"""The settings of a search.

Their values stand in tune_searches/. The ranges, `search.space`, are read by tune_searches/space.py.
"""

from dataclasses import dataclass

from settings.setting import MANY, PROCESSES, any_value, at_least, one_of


@dataclass(frozen=True)
class SearchSettings:
    """The settings of a search, without its space."""

    name: str = any_value("name of the search and its directory, <output_dir>/searches/<name>")
    trials: int = at_least(1, "number of trials; each lasts stop.agent_steps at most", most=MANY)
    concurrent: int | None = at_least(1, "trials at once; null: as many as fit", most=PROCESSES)
    seeds_per_trial: int = at_least(1, "seeds per trial; its score is their mean", most=100)
    sampler: str = one_of(
        ("tpe", "random", "cmaes", "gp"),
        "method that proposes settings: Optuna's TPE, random, CMA-ES or a Gaussian process",
    )
    scheduler: str = one_of(
        ("asha", "median", "pbt", "none"),
        "which trials stop early: asha, median or none; pbt changes settings while they train",
    )
    reduction_factor: int = at_least(
        2, "asha: one in so many of those that came to a rung so far goes on; median: its first comparison", most=100
    )
    rungs: int = at_least(
        1, "comparisons before the end, the first at 1 / reduction_factor^rungs; asha, median", most=10
    )
    generations: int = at_least(
        2, "pbt: parts of the budget; after each part, the worst trials continue from the best", most=1000
    )
    storage: str = any_value("sqlite or journal, in the search's directory; or the URL of a database")
    contenders: int = at_least(
        1, "number of best trials that are trained with more seeds after the last trial", most=1000
    )
    contender_seeds: int = at_least(0, "number of additional seeds of each contender", most=100)
    finalists: int = at_least(
        1, "number of contenders that are compared with the settings from which the search began", most=1000
    )
    fresh_seeds: int = at_least(0, "number of fresh seeds for this comparison; 0: no comparison", most=100)
