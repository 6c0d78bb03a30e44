"""The flags of run.py, and the words of a command line that are neither flags nor overrides.

argv -> overrides, flags
"""

from environments.spelling import translate_env
from experiments.composition import GROUPS, compose_settings, list_dotted_keys, list_options, spell
from settings.mistakes import Mistake
from settings.synonyms import COMMANDS, suggest_overrides


def split_arguments(argv: list[str]) -> tuple[list[str], set[str]]:
    """Split a command line into its overrides and its flags.

    Raises:
        Mistake: a flag does not exist.
    """
    words, flags, overrides = list(argv), set(), []
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            flags.add("--help")
        elif word in ("-m", "--multirun"):
            flags.add("--multirun")
        elif word in ("-c", "--cfg"):
            if not words or words.pop(0) != "job":
                raise Mistake("--cfg prints the experiment; type it as --cfg job")
            flags.add("--cfg")
        elif word.startswith("-"):
            raise Mistake(explain_flag([word, *words], overrides))
        else:
            overrides.append(word)
    return overrides, flags


def explain_flag(words: list[str], overrides: list[str]) -> str:
    """Return the sentence for an unknown flag, the first of `words`; `overrides` stand before it."""
    try:
        known = list_dotted_keys(compose_settings([*overrides, *(word for word in words if word.startswith("algo="))]))
    except Mistake:  # of a grid, or with a second mistake, which is answered when the flag has gone
        known = list_dotted_keys(compose_settings([]))
    return f"{words[0]}: there is no such flag; {suggest_overrides(words, [*known, *GROUPS], spell)}"


def refuse_bare_words(overrides: list[str]) -> None:
    """Refuse a word without `=` that is an option of a group, such as `ppo`, a game, or the name of a command."""
    for word in (word for word in overrides if "=" not in word):
        if groups := [group for group in GROUPS if word.lower() in list_options(group)]:
            raise Mistake(f"{word}: did you mean {groups[0]}={word.lower()}?")
        if word.lower() in COMMANDS:
            raise Mistake(f"{word}: did you mean command={COMMANDS[word.lower()]}?")
        if game := translate_env(word, list_options("env")):
            raise Mistake(f"{word}: did you mean {game}?")
