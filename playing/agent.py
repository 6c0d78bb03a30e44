"""An agent that plays: a checkpoint of a run, the rules of its games, and its network.

run directory, checkpoint, rules -> Agent -> load_network -> ActorCritic or QNetwork with the weights of the checkpoint
"""

import hashlib
import logging
from pathlib import Path
from typing import Any

import torch

from custom_models.actor_critic import ActorCritic
from custom_models.q_network import QNetwork
from environments.frames import layout_of
from environments.games import Games, may_never_end
from environments.machine import find_fastest_dtype
from playing.rules import apply_rules
from playing.saved_settings import read_run_settings
from playing.whole_games import explain_unopened, open_games
from run_directory.checkpoints import read_totals
from run_directory.manifest import read_state
from run_directory.weights import read_weights
from settings.algorithms import find_base
from settings.mistakes import Mistake, format_error
from settings.protocols import PROTOCOLS


class Agent:
    """An agent of a run, and everything that decides which games it plays.

    Args:
        run: the run directory of one seed.
        checkpoint: the folder of the checkpoint, which may lie outside of the run directory.
        seed: the seed of the games; None takes the run's.
        rules: `env.` settings that replace the run's own, see `apply_rules`.

    Attributes:
        settings: the settings of the run.
        env: the `env.` settings of the games.
        rule_words: a word for each rule that differs from the run's; they become part of file names.
        notes: sentences for the user about rules that could not be applied.
        games_seed: the seed of the games.
        is_from_run: whether the checkpoint lies in this run directory.
        name: the name of the checkpoint in file names, different for each checkpoint from outside.
        totals: the content of progress.json beside the weights that `load_network` has read: agent_steps and more.

    Raises:
        Mistake: the agent cannot play by these rules, or its environment may never end a game.
    """

    def __init__(self, run: Path, checkpoint: Path, seed: int | None = None, rules: dict[str, Any] | None = None):
        rules = rules or {}
        self.run, self.checkpoint = run, checkpoint
        self.settings = read_run_settings(run)
        self.env, self.rule_words = apply_rules(self.settings["env"], rules)
        try:
            is_endless = may_never_end(self.env)
        except Exception as error:  # an own environment's module may be missing, or raise anything
            raise Mistake(explain_unopened(run, error)) from error
        if is_endless:
            raise Mistake(
                f"run={run}: env.id={self.env['id']} has no time limit, and an evaluation plays complete games only; "
                "give it max_episode_steps where it is registered, or train with env.kwargs.max_episode_steps=1000"
            )
        self.notes, self.totals, self._network = [], {}, None
        named = PROTOCOLS.get(rules.get("protocol", ""), self.env)
        if named.get("full_action_space") != self.env.get("full_action_space"):
            self.notes.append(
                "the agent keeps the actions it was trained with, "
                f"env.full_action_space={self.env['full_action_space']}"
            )
        self.games_seed = self.settings["seed"] if seed is None else seed
        self.is_from_run = checkpoint.parent in ((run / "checkpoints").resolve(), run / "checkpoints")
        self.name = checkpoint.name
        if not self.is_from_run:  # a result of another agent must not replace a result of the run's own
            self.name += f"_{hashlib.sha256(bytes(checkpoint)).hexdigest()[:6]}"

    def open_games(self, num_envs: int, one_by_one: bool = False) -> Games:
        """Open N environments for whole games under the rules of this agent, see `open_games`."""
        return open_games(self.run, self.env, num_envs, one_by_one)

    def load_network(self, games: Games) -> ActorCritic | QNetwork:
        """Build the network for these games and load the weights of the checkpoint, see `load_network`.

        They are loaded once, with `totals` of the same weights, since a training may replace the checkpoint.
        """
        model = choose_dtype(self.settings["model"])
        while self._network is None:
            state = read_state(self.checkpoint)
            try:
                network = load_network(self.checkpoint, model, self.env, games, self.settings["algo"])
                totals = read_totals(self.checkpoint)
            except Mistake:
                if state == read_state(self.checkpoint):
                    raise
                continue
            if state == read_state(self.checkpoint):
                self._network, self.totals = network, totals
        return self._network


def choose_dtype(model: dict) -> dict:
    """Return `model.` settings in which `dtype=auto` is replaced by the fastest dtype of this machine."""
    return model | {"dtype": find_fastest_dtype()} if model["dtype"] == "auto" else dict(model)


def load_network(
    checkpoint: Path, model: dict, env: dict, games: Games, algo: dict | None = None
) -> ActorCritic | QNetwork:
    """Build a network and load the weights of a checkpoint.

    Args:
        checkpoint: the folder of the checkpoint.
        model: the `model.` settings of the run, with a dtype that is not auto.
        env: the `env.` settings of the games.
        games: the open environments, whose spaces give the network its sizes.
        algo: the `algo.` settings, which decide the class of the network; None builds an ActorCritic.

    Raises:
        Mistake: the checkpoint is damaged or holds weights of another model.
    """
    layout = layout_of(env)
    if layout is not None:
        model = model | {"pixels": layout._asdict() | {"block": layout.block}}
    logging.getLogger("ray._common.deprecation").setLevel(logging.ERROR)  # RLModule uses what RLlib deprecates
    spaces = {"observation_space": games.observation_space, "action_space": games.action_space}
    try:
        if algo is not None and find_base(algo) == "dqn":
            network = QNetwork(**spaces, model_config=model | {"dueling": algo["dueling"]})
        else:
            network = ActorCritic(**spaces, model_config=model)
    except Mistake:  # of a module that a user has named
        raise
    except Exception as error:  # torch may raise anything where settings were damaged
        run = checkpoint.parent.parent
        raise Mistake(f"run={run}: model in its config.yaml makes no network ({format_error(error)})") from error
    state = read_weights(checkpoint)
    found = {name: weights.shape for name, weights in state.items()}
    wanted = {name: tuple(weights.shape) for name, weights in network.state_dict().items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise Mistake(
                f"{checkpoint}: a checkpoint of another model, {name} is {found.get(name, 'missing')} where the run's "
                f"config.yaml asks for {wanted.get(name, 'none')}; evaluate the run it was saved by"
            )
    network.load_state_dict({name: torch.as_tensor(weights) for name, weights in state.items()})
    return network
