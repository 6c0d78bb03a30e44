"""Evaluation: full games with a trained agent, under the protocol it was trained under, or under another.

    run directory -> settings, weights -> N envs, each its share of the games -> scores -> statistics -> JSON

Two ways to play: `stochastic` draws from the policy, as training does; `greedy` takes its likeliest action. Either way
the games are whole, a lost life ends nothing, and the scores are unclipped.

Which games count is settled before the first is played: each env plays its share, and whatever it plays beyond that is
not looked at. The first 30 games to finish would be the short ones, and in most games those score low.

Seeds: both ways of playing start from the same games, and those are a branch of the run's seed that training never
draws from, unless another is given. The same run, checkpoint, rules and number of episodes give the same result.

Every game ends: environments without a time limit are refused, and the games that the protocol's limit has cut are
counted.
"""

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from custom_models.actor_critic import ActorCritic
from custom_models.q_network import QNetwork
from environments.frame_stack import FrameStack
from environments.frames import layout_of
from environments.games import Games, make_games, may_never_end
from environments.machine import fastest_dtype
from environments.screen import LINE_EVERY_S, Screen, duration
from environments.threads import take_threads
from evidence.human import references
from evidence.statistics import bootstrap_interval, iqm
from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.layout import CHECKPOINT_NAMES, evaluation_path, list_seed_runs
from run_directory.saved_settings import read_run_settings
from run_directory.weights import read_weights
from run_directory.writing import explain_unwritable, save_file
from settings.mistakes import Mistake, counted, in_a_line
from settings.protocols import PROTOCOLS, complete_rules, describe

WAYS = ("stochastic", "greedy")
DEFAULT_EPISODES = 30  # experiments/config.yaml's: a result of so many games is not named after their number
MAX_ENVS = 16
SEED_BRANCH = 1


def evaluate(
    run: Path,
    episodes: int,
    checkpoint: str | None = None,
    ways: Sequence[str] = WAYS,
    seed: int | None = None,
    rules: dict[str, Any] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Play full games with the agent of a run, and write the result beside its checkpoints.

    Args:
        run: a run directory; for a parent of several seeds each of them is evaluated.
        episodes: full games per way of playing.
        checkpoint: `best`, `last`, `previous` or a milestone, or the path of a checkpoint's folder, which may lie
            elsewhere; None takes the best where there is one.
        ways: of choosing actions, of WAYS.
        seed: of the games; None is the run's.
        rules: `env.` settings that replace the run's own, see `apply_rules`.
        console: where progress goes, in a terminal a live line, elsewhere a line every ten seconds.

    Returns:
        What the agent is (`env`, `algo`, `protocol`, `checkpoint`, `agent_steps`, `env_frames`, `seed`, `dtype`), how
        it played (`episodes`, `ways`, `rules`, `games_seed`, `num_envs`, `env_seed`), and for each way a `summary`. For
        a parent: `seeds`, a list of such results. Each is in `saved` as well, without these: `saved`, the path, None
        where it could not be written, then `not_saved` says why.

    Raises:
        Mistake: no such run or checkpoint, weights of another model, fewer than one episode, rules that the environment
            does not have or the agent cannot play by, an environment that may never end.
    """
    if episodes < 1:
        raise Mistake(f"episodes={episodes}: an evaluation needs at least one game; give 1 or more")
    run, ways = Path(run), [way for way in WAYS if way in ways]
    runs = list_seed_runs(run)
    for one in runs:
        read_run_settings(one)
    checkpoints = [find_checkpoint(one, checkpoint) for one in runs]  # all of them, before hours of play
    if len(runs) > 1 and checkpoint not in (None, *CHECKPOINT_NAMES):
        raise Mistake(
            f"checkpoint={checkpoint} is of one agent, and run={run} has {len(runs)} seeds; give run=<one of them>"
        )
    agents = [Evaluation(*pair, episodes, ways, seed, rules or {}) for pair in zip(runs, checkpoints, strict=True)]
    take_threads()
    with GamesDisplay(episodes * len(ways) * len(agents), console) as display:
        for agent in agents:
            if why := explain_unwritable(agent.path):
                display.say(f"the result will be printed and not saved: {why}")
        results = [agent.play(display) for agent in agents]
    return results[0] if runs == [run] else {"seeds": results}


def apply_rules(env: dict, rules: dict[str, Any]) -> tuple[dict, list[str]]:
    """Return `env.` settings under other rules, and a word for each that departs from the run's: `machado`.

    Args:
        env: of the run.
        rules: `env.` settings. A protocol's name replaces all fields of that protocol, single fields override it. An
            agent cannot change its actions, so that a protocol with others leaves them as they are.

    Raises:
        Mistake: the environment has no such rules, or they mean nothing in an evaluation.
    """
    env = complete_rules(env)
    if rules and "game" not in env:
        key, value = next(iter(rules.items()))
        raise Mistake(f"env.{key}={value}: {env['name']} has no protocol to evaluate it under; leave env.{key} out")
    played = dict(env)
    if "protocol" in rules:
        kept = {"full_action_space": env["full_action_space"]}
        played |= PROTOCOLS[rules["protocol"]] | kept | {"protocol": rules["protocol"]}
    words = [played["protocol"]] if played != env else []
    for key, value in rules.items():
        if key in ("clip_rewards", "life_loss"):
            raise Mistake(f"env.{key}={value}: scores are raw and of whole games in an evaluation; leave env.{key} out")
        if key == "full_action_space" and value != env[key]:
            raise Mistake(
                f"env.{key}={value}: the agent was trained with {env[key]} and has no other actions; leave it"
            )
        if key != "protocol" and key not in PROTOCOLS["classic"]:
            raise Mistake(f"env.{key}={value} is no rule of a protocol; rules are {', '.join(PROTOCOLS['classic'])}")
        if played[key] != value:
            played[key] = value
            words.append(f"{key}_{value}")
    return played, words


class Evaluation:
    """One agent, and all that its games and the name of their result depend on."""

    def __init__(
        self, run: Path, checkpoint: Path, episodes: int, ways: list[str], seed: int | None, rules: dict[str, Any]
    ):
        self.run, self.checkpoint, self.episodes, self.ways = run, checkpoint, episodes, ways
        self.settings = read_run_settings(run)
        self.env, self.rule_words = apply_rules(self.settings["env"], rules)
        if may_never_end(self.env):
            raise Mistake(
                f"run={run}: env.id={self.env['id']} has no time limit, and an evaluation plays complete games only; "
                "give it max_episode_steps where it is registered"
            )
        self.notes = []
        named = PROTOCOLS.get(rules.get("protocol", ""), self.env)
        if named.get("full_action_space") != self.env.get("full_action_space"):
            self.notes.append(
                "the agent keeps the actions it was trained with, "
                f"env.full_action_space={self.env['full_action_space']}"
            )
        self.games_seed = self.settings["seed"] if seed is None else seed
        self.inside = checkpoint.parent == (run / "checkpoints").resolve() or checkpoint.parent == run / "checkpoints"
        # Another agent of the same model, perhaps: its result may not take the place of the run's own.
        self.name = (
            checkpoint.name if self.inside else f"{checkpoint.name}_{hashlib.sha256(bytes(checkpoint)).hexdigest()[:6]}"
        )
        words = [self.name, *([f"seed_{seed}"] if self.games_seed != self.settings["seed"] else []), *self.rule_words]
        words += [] if ways == list(WAYS) else ways
        words += [] if episodes == DEFAULT_EPISODES else [f"{episodes}_games"]
        self.path = evaluation_path(run, "_".join(words))

    def play(self, display: "GamesDisplay") -> dict[str, Any]:
        """`evaluate` for this agent."""
        env, model = self.env, model_of(self.settings)
        share = shares(self.episodes)
        env_seed, action_seed = seeds(self.games_seed)
        played = {}
        games = open_games(self.run, env, len(share))
        try:
            agent = load_agent(self.checkpoint, model, env, games, self.settings["algo"])
            for way in self.ways:
                display.begin(f"seed {self.settings['seed']}, {way}")
                found = play(agent, games, share, env_seed, action_seed, way == "greedy", display)
                played[way] = summary(*found, env)
        finally:
            games.close()
        progress = read_totals(self.checkpoint)
        result = {
            "env": env["name"],
            "algo": self.settings["algo"]["name"],
            "protocol": describe(env),
            "checkpoint": self.checkpoint.name,
            "checkpoint_path": None if self.inside else str(self.checkpoint),  # of one outside of the run
            "agent_steps": progress.get("agent_steps"),
            "env_frames": progress.get("env_frames"),
            "seed": self.settings["seed"],
            "dtype": model["dtype"],
            "episodes": self.episodes,
            "ways": self.ways,
            "rules": {name: env[name] for name in PROTOCOLS["classic"] if "game" in env},
            "games_seed": self.games_seed,
            "num_envs": len(share),
            "env_seed": env_seed,  # of env 0; env i has the one i higher
            "notes": self.notes,
            **played,
        }
        why = save_file(self.path, json.dumps(result, indent=1))
        return result | {"saved": None if why else str(self.path), "not_saved": why}


class GamesDisplay(Screen):
    """How far an evaluation is: games, agent steps, and the time left by the mean time of a game so far.

    Args:
        total: games of all agents and ways of playing.
    """

    def __init__(self, total: int, console: Console | None = None):
        super().__init__(console)
        self.total, self.done, self.steps, self.label = total, 0, 0, ""
        self._began = self._spoken = time.monotonic()

    def begin(self, label: str) -> None:
        """Other games follow."""
        self.label = label

    def update(self, games: int, agent_steps: int) -> None:
        """So many games have ended, and so many agent steps were played, since the last update."""
        self.done, self.steps = self.done + games, self.steps + agent_steps
        if self._live:
            self._live.update(Text(self.line()))
        elif time.monotonic() - self._spoken >= LINE_EVERY_S:
            self._spoken = time.monotonic()
            self.say(self.line())

    def line(self) -> str:
        """`seed 1, greedy: 12 of 60 games, 45,000 agent steps, time left 2 min 10 s`."""
        spent = time.monotonic() - self._began
        left = duration(spent / self.done * (self.total - self.done)) if self.done else "unknown before the first game"
        return f"{self.label}: {self.done} of {self.total} games, {self.steps:,} agent steps, time left {left}"


def shares(episodes: int) -> np.ndarray:
    """How many games each env plays: int [N], as even as can be."""
    num_envs = min(MAX_ENVS, episodes)
    return episodes // num_envs + (np.arange(num_envs) < episodes % num_envs)


def seeds(seed: int) -> tuple[int, int]:
    """The seeds of the first env and of the drawn actions, from the seed of the run."""
    branch = np.random.SeedSequence(seed, spawn_key=(SEED_BRANCH,))
    env_seed, action_seed = branch.generate_state(2)
    return int(env_seed) % 2**30, int(action_seed)


def open_games(run: Path, env: dict, num_envs: int, one_by_one: bool = False) -> Games:
    """Open whole games, which a lost life does not end, of a run's environment; `one_by_one` as in `make_games`.

    Raises:
        Mistake: the environment cannot be opened here.
    """
    try:
        return make_games({**env, "life_loss": False}, num_envs, torch.get_num_threads(), one_by_one)
    except Exception as error:  # Gymnasium's own, or whatever an environment makes of settings that were damaged
        raise Mistake(
            f"run={run}: its environment cannot be opened here ({in_a_line(error)}); install or register it, "
            "and see that env in its config.yaml is whole"
        ) from error


def model_of(settings: dict) -> dict:
    """Return the `model.` settings of a run, with `dtype` decided for this machine where it is auto."""
    model = dict(settings["model"])
    return model | {"dtype": fastest_dtype()} if model["dtype"] == "auto" else model


def load_agent(
    checkpoint: Path, model: dict, env: dict, games: Games, algo: dict | None = None
) -> ActorCritic | QNetwork:
    """The network of a checkpoint; `algo` holds the `algo.` settings, and says which class it is of.

    Raises:
        Mistake: the checkpoint is damaged or holds weights of another model.
    """
    layout = layout_of(env)
    if layout is not None:
        model = model | {"pixels": layout._asdict() | {"block": layout.block}}
    logging.getLogger("ray._common.deprecation").setLevel(logging.ERROR)  # RLModule uses what RLlib deprecates
    spaces = {"observation_space": games.observation_space, "action_space": games.action_space}
    try:
        if algo is not None and algo["name"] == "dqn":
            agent = QNetwork(**spaces, model_config=model | {"dueling": algo["dueling"]})
        else:
            agent = ActorCritic(**spaces, model_config=model)
    except Exception as error:  # torch may raise anything where settings were damaged
        run = checkpoint.parent.parent
        raise Mistake(f"run={run}: model in its config.yaml makes no network ({in_a_line(error)})") from error
    state = read_weights(checkpoint)
    found = {name: weights.shape for name, weights in state.items()}
    wanted = {name: tuple(weights.shape) for name, weights in agent.state_dict().items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise Mistake(
                f"{checkpoint}: a checkpoint of another model, {name} is {found.get(name, 'missing')} where the run's "
                f"config.yaml asks for {wanted.get(name, 'none')}; evaluate the run it was saved by"
            )
    agent.load_state_dict({name: torch.as_tensor(weights) for name, weights in state.items()})
    return agent


def play(
    agent: ActorCritic | QNetwork,
    games: Games,
    share: np.ndarray,
    env_seed: int,
    action_seed: int,
    greedy: bool,
    display: GamesDisplay,
) -> tuple[list[float], list[int], int]:
    """Play `share[n]` full games in env n.

    Returns:
        Unclipped scores and lengths in agent steps, all of env 0 first; and how many of these games were cut short.
    """
    cut, ended = 0, 0
    scores, lengths = [[] for _ in share], [[] for _ in share]
    score, length = np.zeros(len(share)), np.zeros(len(share), np.int64)
    generator = torch.Generator().manual_seed(action_seed)
    stack, state = FrameStack(games.layout, games.reset(env_seed)), agent.initial_state(len(share))
    with torch.inference_mode():
        packed = agent.pack()
        while ended < share.sum():
            parameters, _, state = agent.act(torch.from_numpy(stack.observations()), packed, state)
            policy = agent.Policy(parameters)
            actions = policy.mode() if greedy else policy.sample(generator)
            step = games.step(actions.numpy())
            stack.push(step.obs, step.game_reset)
            for part in state:
                part[torch.from_numpy(step.game_reset)] = 0
            score += step.rewards
            length += step.valid
            for n in np.flatnonzero(step.finished):
                if len(scores[n]) < share[n]:
                    scores[n].append(float(score[n]))
                    lengths[n].append(int(length[n]))
                    cut += bool(step.truncated[n] and not step.terminated[n])
                score[n] = length[n] = 0
            before, ended = ended, sum(map(len, scores))
            display.update(ended - before, int(step.valid.sum()))
    return sum(scores, []), sum(lengths, []), cut


def summary(scores: list[float], lengths: list[int], cut: int, env: dict) -> dict[str, Any]:
    """The numbers of one way to play.

    `iqm_interval` is a 95 % bootstrap interval over the games: how sure the score of this one agent is, not how much
    agents of other seeds differ. `human_normalised` is by table, of the mean.
    """
    mean = float(np.mean(scores))
    return {
        "mean": mean,
        "median": float(np.median(scores)),
        "iqm": float(iqm(np.array(scores))),
        "iqm_interval": list(bootstrap_interval(np.array(scores))),
        "std": float(np.std(scores)),
        "min": min(scores),
        "max": max(scores),
        "mean_length": float(np.mean(lengths)),  # agent steps
        "cut": cut,  # games that the time limit ended
        "human_normalised": {reference.table: reference.normalise(mean) for reference in references(env)},
        "scores": scores,
        "lengths": lengths,
    }


def print_evaluation(result: dict[str, Any], console: Console | None = None) -> int:
    """Print a small table, one column per way to play; one such table per seed.

    Returns:
        The exit code: 0, or 1 where a result could not be saved, which is said.
    """
    console = console or Console()
    for one in (results := result.get("seeds", [result])):
        ways = [way for way in WAYS if way in one]
        table = Table()
        table.add_column("score of full games")
        for way in ways:
            table.add_column(way, justify="right")
        for name in ("mean", "median", "iqm", "iqm_interval", "std", "min", "max", "mean_length"):
            label = {"iqm": "IQM", "iqm_interval": "IQM, 95 % interval", "mean_length": "mean length, agent steps"}
            table.add_row(label.get(name, name), *(number(one[way][name]) for way in ways))
        for name in one[ways[0]]["human_normalised"]:
            values = (f"{one[way]['human_normalised'][name]:.2f}" for way in ways)
            table.add_row(f"human-normalised, {name}", *values)
        console.print(title(one), table, sep="\n", highlight=False)
        for sentence in (*one["notes"], *cut_games(one, ways), saved(one)):
            console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    return 0 if all(one["saved"] for one in results) else 1


def cut_games(result: dict[str, Any], ways: list[str]) -> list[str]:
    """Return a sentence for each way of playing in which the protocol's limit has cut games."""
    limit = result["rules"].get("max_episode_frames", 0)
    return [
        f"{way}: {cut} of {result['episodes']} games {'was' if cut == 1 else 'were'} cut at {limit:,} frames"
        for way in ways
        if limit and (cut := result[way]["cut"])
    ]


def saved(result: dict[str, Any]) -> str:
    """Where a result is, or why it is nowhere."""
    return f"result: {result['saved']}" if result["saved"] else f"the result was not saved: {result['not_saved']}"


def title(result: dict[str, Any]) -> str:
    """Whose scores they are, and of how many games."""
    steps = "an unknown number of" if result["agent_steps"] is None else f"{result['agent_steps']:,}"
    games = f"{counted(result['episodes'], 'game')} each"
    if result["games_seed"] != result["seed"]:
        games += f", games of seed {result['games_seed']}"
    return (
        f"{result['algo']} on {result['env']}, protocol {result['protocol']}, seed {result['seed']}\n"
        f"{result['checkpoint']} checkpoint at {steps} agent steps, {games}"
    )


def number(value: float | list[float]) -> str:
    """`1,234.5`, or two of them."""
    return " to ".join(f"{v:,.1f}" for v in (value if isinstance(value, list) else [value]))
