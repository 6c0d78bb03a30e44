"""Export: an agent of a run becomes a folder with a network, its description and a program that plays.

run directory, checkpoint -> Agent -> ExportedNetwork -> policy.onnx or policy.pt
                                                      -> agent.json
                          atari_player.py or gymnasium_player.py -> play.py
"""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import gymnasium

from environments.threads import configure_threads
from exports.description import describe_agent, write_description
from exports.exported_network import ExportedNetwork
from exports.policy_file import write_policy
from playing.agent import Agent
from settings.mistakes import Mistake, format_error

PLAYERS = {True: "atari_player.py", False: "gymnasium_player.py"}  # is it a game of ALE? -> the program


def export_agent(run: Path, checkpoint: Path, format: str, folder: Path) -> list[str]:
    """Write the folder of an agent, whole or not at all.

    Args:
        run: the run directory of one seed, or the folder of a published agent.
        checkpoint: the folder of the checkpoint.
        format: `onnx` or `torchscript`.
        folder: the new folder; it must not exist.

    Returns:
        The packages that play.py needs, and the module that registers its environment.

    Raises:
        Mistake: the agent cannot be loaded, its network cannot be exported, or play.py could not open its environment.
    """
    configure_threads()
    agent = Agent(run, checkpoint)
    games = agent.open_games(num_envs=1)
    if "id" in agent.env:
        refuse_changed_environment(agent.env, games)
    network = ExportedNetwork(agent.load_network(games))
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    new = aside / folder.name  # which others may read, as they may not read `aside`
    new.mkdir()
    try:
        policy = write_policy(network, format, new)
        description = describe_agent(agent, network, games, policy.name, format)
        write_description(description, new)
        player = Path(__file__).with_name(PLAYERS["game" in agent.env]).read_text()
        (new / "play.py").write_text(re.sub(r" +# pyright: .*", "", player))
        os.rename(new, folder)
    finally:
        games.close()
        shutil.rmtree(aside, ignore_errors=True)
    return [package.partition("==")[0] for package in description["needs"]]


def refuse_changed_environment(env: dict, games: Any) -> None:
    """Refuse an environment that the suite changes, since play.py opens it by its id alone.

    Args:
        env: the `env.` settings of the agent.
        games: the environments as the suite opens them.

    Raises:
        Mistake: it has arguments or wrappers, or its spaces are others than the agent's.
    """
    for key in ("kwargs", "wrappers"):
        if env.get(key):
            raise Mistake(
                f"env.{key}={env[key]}: play.py opens env.id={env['id']} by its id alone; register the environment "
                "with them under an id of its own, and train with that one"
            )
    try:
        plain = gymnasium.make(env["id"])
    except Exception as error:  # an environment may raise anything
        raise Mistake(f"env.id={env['id']}: play.py cannot open it by its id alone ({format_error(error)})") from error
    spaces = (plain.observation_space, plain.action_space)
    plain.close()
    if spaces != (games.observation_space, games.action_space):
        raise Mistake(
            f"env.id={env['id']}: play.py would open it with other observations or actions than the agent was trained "
            "with; register the environment as it was trained in under an id of its own, and train with that one"
        )
