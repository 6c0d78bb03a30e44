"""The one command: compose an experiment with Hydra, check it, hand it on.

    python run.py                                        PPO on Assault, 10 million agent steps
    python run.py algo=ppo env=pong size=short seed=[1,2,3]
    python run.py resume=outputs/ppo/assault/<run>       continue; what else is typed wins
    python run.py command=evaluate run=outputs/ppo/assault/<run> episodes=30
    python run.py env=cartpole --cfg job                 print the experiment, run nothing

This is the only file that knows Hydra. Exit code 0: done; 2: something that was typed cannot work; 1: anything else.
"""

import difflib
import os
import re
import sys
from pathlib import Path

try:
    import yaml
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
except ModuleNotFoundError as error:
    sys.exit(f"error: {error} for {sys.executable}; type make setup, then source .venv/bin/activate")

from environments.mistakes import Mistake
from environments.protocols import PROTOCOLS

ROOT = Path(__file__).resolve().parent
GROUPS = ("algo", "env", "model", "cluster", "size", "command", "tuned_configs", "tune_searches")
EXAMPLES = """
examples
  python run.py                                     PPO on Assault, 10 million agent steps
  python run.py size=short                          the same for some minutes, then an evaluation
  python run.py env=atari env.game=qbert            any game ALE has
  python run.py env=pong env.protocol=machado       sticky actions, all 18 actions
  python run.py env=cartpole stop.agent_steps=100000
  python run.py seed=[1,2,3] algo.lr=1e-4           one run per seed
  python run.py tune_searches=assault_ppo           search for better settings; the same again goes on
  python run.py resume=<run directory>              continue; what else is typed wins
  python run.py resume=auto algo=ppo                continue this very experiment where it was begun before, or begin it
  python run.py cluster=ray output_dir=/shared/runs on a Ray cluster (docs/cluster.md); with command=submit as a job
  python run.py algo=a3c dry_run=true               say what would run where, and stop
  python run.py command=evaluate run=<run directory> episodes=30
  python run.py command=promote run=<search directory>

flags
  --help      this text              --cfg job   print the experiment and run nothing
"""


def main(argv: list[str]) -> int:
    """Do what was typed; returns the exit code."""
    try:
        overrides, flags = split(argv)
        if "--help" in flags:
            print(help_text())
            return 0
        if "command=submit" in overrides and "--cfg" not in flags:
            return submit([override for override in overrides if override != "command=submit"])
        settings, resumed = experiment(overrides)
        if "--cfg" in flags:
            print(yaml.safe_dump(settings, sort_keys=False), end="")
            return 0
        return dispatch(settings, argv, overrides, resumed)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before training or after it; a run under way writes a checkpoint and says how to go on
        print("stopped", file=sys.stderr)
        return 1


def split(argv: list[str]) -> tuple[list[str], set[str]]:
    """Overrides and flags."""
    words, flags, overrides = list(argv), set(), []
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            flags.add("--help")
        elif word in ("-c", "--cfg"):
            if not words or words.pop(0) != "job":
                raise Mistake("--cfg prints the experiment and takes the word job: --cfg job")
            flags.add("--cfg")
        elif word.startswith("-"):
            raise Mistake(
                f"{word}: there is no such flag; there are --help and --cfg job (a search is tune_searches=...)"
            )
        else:
            overrides.append(word)
    return overrides, flags


def experiment(overrides: list[str]) -> tuple[dict, Path | None]:
    """The settings that were typed, checked, and the run directory they continue, if any."""
    from runs.check import RUNS, check

    if "resume=auto" in overrides:
        settings = check(composed(typed_of(overrides)))
        if settings["command"] != "train":  # a search goes on by its name
            return settings, None
        from runs.directory import automatic

        return settings | {"resume": "auto"}, automatic(settings)
    # The algorithm and environment of a run that continues are not those of a run without words: look at them later.
    start = [o for o in overrides if o.partition("=")[0] in ("resume", "command")]
    resumes = any(o.startswith("resume=") for o in start)
    settings = composed(start if resumes else overrides)
    if settings["resume"] is not None and not (isinstance(settings["resume"], str) and settings["resume"]):
        raise Mistake(f"resume={settings['resume']}: give a run directory, or leave it out")
    if settings["command"] in RUNS or not settings["resume"]:
        return check(composed(overrides) if resumes else settings), None

    from runs.directory import open_run, overrides_of
    from runs.resume import merged, refuse_another_model, typed_over

    run, saved = open_run(settings["resume"], "resume")
    typed = typed_of(overrides)
    # What the new words change in the experiment as it would be composed today is changed in the saved settings; so a
    # group (size=short) works like a key, and defaults that have changed since leave the run alone.
    before, after = composed(overrides_of(run)), composed([*overrides_of(run), *typed])
    settings = typed_over(merged(saved, before, after), after, typed)
    refuse_another_model(saved, settings)
    return check(settings | {"resume": None}), run


def typed_of(overrides: list[str]) -> list[str]:
    """Overrides that belong to the experiment: all but the directory it continues."""
    return [o for o in overrides if not o.startswith("resume=")]


def composed(overrides: list[str]) -> dict:
    """What Hydra makes of the overrides, as plain data.

    Raises:
        Mistake: an override names a group option or a key that there is not, or cannot be read.
    """
    os.environ["SUITE_ROOT"] = str(ROOT)
    if not OmegaConf.has_resolver("protocol"):
        OmegaConf.register_new_resolver("protocol", rule_of)
    for override in overrides:
        if override[:1] == "+":
            key, others = override.partition("=")[0].lstrip("+"), [o for o in overrides if o[:1] != "+"]
            refuse_added(override, key, composed(others))
        refuse_unreadable(override)
    try:
        with initialize_config_dir(str(ROOT / "experiments"), version_base=None):
            config = compose("config", overrides)
        settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise Mistake(sentence(error, overrides)) from error
    assert isinstance(settings, dict)
    return settings


def refuse_added(override: str, key: str, settings: dict) -> None:
    """+key: a setting is there already, or nobody would read it.

    Raises:
        Mistake: always.
    """
    known = flat(settings)
    if key in known or key in GROUPS:
        raise Mistake(f"{override}: {key} is there already; leave out the +")
    raise Mistake(near_keys(key, known))


def refuse_unreadable(override: str) -> None:
    """What Hydra would answer with a riddle: what it cannot read, +key and ~key, and groups without an option.

    Raises:
        Mistake: the override is one of these.
    """
    key, _, value = override.partition("=")
    if key.split(".")[0] == "hydra":
        raise Mistake(f"{override}: Hydra only composes here; python run.py --cfg job prints the settings there are")
    if key[:1] == "~":
        raise Mistake(f"{override}: no setting can go; give it another value, null where it may be none")
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise Mistake(
            f"{override!r} cannot be read; write key=value, without spaces around = and without commas between, "
            "see python run.py --help"
        ) from error
    if not key or parsed.is_sweep_override():
        raise Mistake(f"{override} cannot be read; write key=value with one value, see python run.py --help")
    if key in GROUPS and not isinstance(parsed.value(), str) and not (value == "null" and key.startswith("tune")):
        raise Mistake(f"{override}: there is no such option; {choose(value, options(key))}")


def rule_of(protocol: str, field: str):
    """What a protocol says of a field; the config's `${protocol:...}`."""
    if protocol not in PROTOCOLS:
        raise Mistake(f"env.protocol={protocol}: there is no such protocol; {choose(protocol, list(PROTOCOLS))}")
    return PROTOCOLS[protocol][field]


def sentence(error: Exception, overrides: list[str]) -> str:
    """One sentence for what Hydra or OmegaConf says in several."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Mistake):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    for mistyped in re.findall(r"Could not override '([^']+)'", text):
        key = mistyped.lstrip("+~")
        rest = [o for o in overrides if o.partition("=")[0].lstrip("+~") != key]
        known = flat(composed(rest))
        if any(k == key or k.startswith(f"{key}.") for k in known):
            return f"{key}: keys cannot be added to it on the command line; write them into a YAML file"
        return near_keys(key, known)
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, option = found.groups()
        return f"{group}={option}: there is no such option; {choose(option, options(group))}"
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found.group(1)} is not set; give it on the command line ({found.group(1)}=...)"
    if found := re.search(r"full_key: (\S+)", text):
        return f"{found.group(1)}: {one_line(text.split(chr(10))[0])}; see python run.py --help"
    return f"{one_line(text)}; see python run.py --help"


def one_line(text: str) -> str:
    """The same without line breaks."""
    return " ".join(text.split())


def near_keys(key: str, known: list[str]) -> str:
    """The sentence for a key that is not in the experiment."""
    group, _, name = key.rpartition(".")
    siblings = [k for k in known if k.rpartition(".")[0] == group] if group else list({k.split(".")[0] for k in known})
    near = difflib.get_close_matches(key, siblings or known, n=2, cutoff=0.5) or difflib.get_close_matches(
        name, known, n=2, cutoff=0.6
    )
    hint = f"did you mean {' or '.join(near)}?" if near else "python run.py --cfg job prints all there are"
    return f"{key}: this experiment has no such setting; {hint}"


def choose(word: str, offered: list[str]) -> str:
    """`did you mean ppo? (a2c, ppo)`"""
    near = difflib.get_close_matches(word, offered, n=1)
    return (f"did you mean {near[0]}? There are: " if near else "there are: ") + (", ".join(offered) or "none yet")


def flat(settings: dict, prefix: str = "") -> list[str]:
    """All keys, dotted."""
    keys = []
    for key, value in settings.items():
        keys += flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]
    return keys


def options(group: str) -> list[str]:
    """What a group offers: its YAML files."""
    root = ROOT if group in ("tuned_configs", "tune_searches") else ROOT / "experiments"
    return sorted(path.stem for path in (root / group).glob("*.yaml"))


def help_text() -> str:
    """All groups with their options, and worked examples."""
    lines = [
        "RLlib Atari suite: policy-gradient experiments on Ray RLlib",
        "",
        "usage: python run.py [group=option] [key=value] ...",
        "",
        "groups",
    ]
    lines += [f"  {group:<14} {', '.join(options(group)) or '(none yet)'}" for group in GROUPS]
    return "\n".join(lines) + "\n" + EXAMPLES.rstrip()


def dispatch(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None) -> int:
    """Run the command. The last line printed is the run directory."""
    from runs.check import RUNS

    if settings["command"] in RUNS and not settings["run"]:
        raise Mistake(f"run is not set; command={settings['command']} takes run=<directory>")
    if settings["dry_run"]:
        from runs.cluster import nodes, ray_for
        from runs.plan import pace_of, plan

        with ray_for(settings):
            found = nodes()
            print(plan(settings, found, pace_of(settings, found)))
        return 0
    if settings["command"] == "evaluate":
        run = Path(settings["run"]).expanduser().resolve()
        code = show_evaluation(run, settings["episodes"])
    elif settings["command"] == "promote":
        from evidence.promotion import promote

        made = promote(Path(settings["run"]).expanduser().resolve())
        if made:
            print(f"tuned config: {made}")
        return 0 if made else 1
    elif settings["command"] == "search":
        from runs.search import search

        folder, code = search(settings, ["python", "run.py", *argv], typed_of(overrides), resumed)
        code = show_result(folder, finished=code == 0) or code
        print(f"search directory: {folder}")
        return code
    else:
        from runs.train import train

        run, code = train(settings, ["python", "run.py", *argv], typed_of(overrides), resumed)
        trained = code == 0
        if trained and settings["evaluate"]:
            code = show_evaluation(run, settings["episodes"])
        if trained:
            print(next_steps(run))
    print(f"run directory: {run}")
    return code


def submit(overrides: list[str]) -> int:
    """The same command as a job on a cluster, once it is known to be free of mistakes."""
    from runs.submit import submit

    settings, _ = experiment(overrides)
    print(submit(settings, overrides))
    return 0


def show_evaluation(run: Path, episodes: int) -> int:
    """Play, print and record; returns the exit code."""
    from evidence.evaluate import evaluate, print_evaluation

    return print_evaluation(evaluate(run, episodes))


def show_result(folder: Path, finished: bool) -> int:
    """What a search has found, as far as it is; returns 1 where its page cannot be saved."""
    from evidence.search_page import write_page
    from evidence.search_result import print_result

    try:
        if finished and print_result(folder):
            print(f"to keep the winner:  python run.py command=promote run={folder}")
    except Mistake as mistake:  # the search is done all the same
        print(f"nothing to compare: {mistake}")
    try:
        print(f"the whole search on a page: {write_page(folder)}")
    except Mistake:
        print("no trial has begun yet")
    except OSError as error:
        print(f"the page was not saved: {error}", file=sys.stderr)
        return 1
    return 0


def next_steps(run: Path) -> str:
    """What one can do with a run."""
    shown = os.path.relpath(run) if Path.cwd() == ROOT and run.is_relative_to(ROOT) else run  # a job is elsewhere
    return f"""what next
  watch the curves   tensorboard --logdir {shown}
  play more games    python run.py command=evaluate run={shown} episodes=100
  train on           python run.py resume={shown} stop.agent_steps=<more>"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
