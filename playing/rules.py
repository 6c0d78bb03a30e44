"""The rules of an evaluation: those of the training, or others that the user asks for.

env settings of the run + rules of the user -> env settings of the games, and the words that name the difference
"""

from typing import Any

from settings.mistakes import Mistake
from settings.protocols import PROTOCOLS, complete_rules


def apply_rules(env: dict, rules: dict[str, Any]) -> tuple[dict, list[str]]:
    """Return `env.` settings under other rules, and a word for each rule that differs from the run's: `machado`.

    Args:
        env: the `env.` settings of the run.
        rules: `env.` settings. The name of a protocol replaces all fields of that protocol, and single fields override
            the protocol. An agent cannot change its actions, so a protocol with other actions leaves them as they are.

    Raises:
        Mistake: the environment has no such rules, or the rules have no meaning in an evaluation.
    """
    env = complete_rules(env)
    if rules and "game" not in env:
        key, value = next(iter(rules.items()))
        raise Mistake(f"env.{key}={value}: {env['name']} has no protocol to evaluate it under; leave env.{key} out")
    new = dict(env)
    if "protocol" in rules:
        kept = {"full_action_space": env["full_action_space"]}
        new |= PROTOCOLS[rules["protocol"]] | kept | {"protocol": rules["protocol"]}
    words = [new["protocol"]] if new != env else []
    for key, value in rules.items():
        if key in ("clip_rewards", "life_loss"):
            raise Mistake(f"env.{key}={value}: scores are raw and of whole games in an evaluation; leave env.{key} out")
        if key == "full_action_space" and value != env[key]:
            raise Mistake(
                f"env.{key}={value}: the agent was trained with {env[key]} and has no other actions; leave it"
            )
        if key != "protocol" and key not in PROTOCOLS["classic"]:
            raise Mistake(f"env.{key}={value} is no rule of a protocol; rules are {', '.join(PROTOCOLS['classic'])}")
        if new[key] != value:
            new[key] = value
            words.append(f"{key}_{value}")
    return new, words
