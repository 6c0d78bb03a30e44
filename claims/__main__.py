"""Tests claims of the lecture.

    python -m claims                          the claims
    python -m claims pg_against_dqn           train what is needed, measure, and say whether it holds
    python -m claims a2c_faster a2c_stabler   several, one after the other; all: every one
    python -m claims pg_against_dqn seeds=3   a trial, whose verdict does not count; without it, the ten
    python -m claims pg_against_dqn out=results/my_study output_dir=/big/disk dry_run=true
    python -m claims mine.yaml                a claim of your own

Typed again after Ctrl-C, it continues. Exit codes: 0, there is a verdict, whatever it is; 2, the command line cannot
work; 1, all other failures.
"""

import itertools
import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in run.py

if __name__ == "__main__":
    from command_line.output_streams import protect_output_streams
    from runs.interrupt import handle_early_signals

    handle_early_signals()
    protect_output_streams()

from contextlib import nullcontext
from pathlib import Path

from claims.claim import PLANNED_SEEDS, Claim, Training, list_claims, read_claim, read_training
from run_directory.writing import explain_unwritable
from settings.mistakes import Mistake, resolve_path
from settings.suggestions import suggest_option

DEFAULTS = {"out": "outputs/claims", "output_dir": "outputs", "dry_run": "false", "seeds": str(PLANNED_SEEDS)}
MOST_DIGITS = 3  # of seeds=
LEAST_SEEDS = 3  # two are always equally far from their median, so `spread` could not be tested


def main(argv: list[str]) -> int:
    """Run a command line, without the name of the program; return the exit code."""
    try:
        if not argv:
            print("\n".join(f"{claim.name:18} {claim.words}" for claim in list_claims()))
            print("\npython -m claims <name> tests one of them")
            return 0
        if {"-h", "--help"} & set(argv):
            print((__doc__ or "").strip())
            return 0
        names = [word for word in argv if not is_option(word)]
        if not names:
            raise Mistake("name a claim, or all; python -m claims lists them")
        claims = list_claims() if names == ["all"] else list(dict.fromkeys(map(read_claim, names)))
        options = read_options(list(filter(is_option, argv)))
        return test_claims(claims, options, argv)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, or a folder that was taken away
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 1


def is_option(word: str) -> bool:
    """Return whether a word is `option=value`; the path of a claim may have a `=` too."""
    key, equals, _ = word.partition("=")
    is_path = word.endswith(".yaml") and ("/" in key or os.path.isfile(word))
    return bool(equals) and (key in DEFAULTS or not is_path)


def read_options(words: list[str]) -> dict[str, str]:
    """Return the value of each option in DEFAULTS: that of the command line, or the default.

    Args:
        words: `option=value`, from the command line.

    Raises:
        Mistake: a word is no option, such as a setting of the training, which only the claim's file may state; or a
            value is not possible.
    """
    options = dict(DEFAULTS)
    for word in words:
        key, _, value = word.partition("=")
        if key not in DEFAULTS:
            known = suggest_option(key, list(DEFAULTS))
            raise Mistake(f"{word}: {known}. All else is stated in the claim's file; copy it to test another one")
        options[key] = value
    if options["dry_run"] not in ("true", "false"):
        raise Mistake(f"dry_run={options['dry_run']}: it takes true or false")
    seeds = options["seeds"]
    if not seeds.isdecimal() or len(seeds) > MOST_DIGITS or int(seeds) < LEAST_SEEDS:
        raise Mistake(f"seeds={seeds}: it takes a number from {LEAST_SEEDS} to 999; fewer say too little")
    return options


def refuse_unwritable(claims: list[Claim], out: str) -> None:
    """Refuse a folder into which the reports of the claims cannot be written.

    Raises:
        Mistake: a file cannot be written, or two claims would write the same ones.
    """
    folder = resolve_path(out, "out")
    by_name = {claim.name: claim for claim in claims}
    if twice := [claim for claim in claims if by_name[claim.name] is not claim]:
        both = f"{twice[0].path} and {by_name[twice[0].name].path}"
        raise Mistake(f"{both}: two claims of one name would write the same files; name one otherwise")
    paths = [folder / f"{name}.{suffix}" for name in by_name for suffix in ("md", "csv", "png")]
    if why := next((why for path in paths if (why := explain_unwritable(path))), None):
        raise Mistake(f"out={out} cannot be written ({why}); name another")


def test_claims(claims: list[Claim], options: dict[str, str], argv: list[str]) -> int:
    """Test claims one after the other, with one Ray for all, where one is needed; return the exit code.

    Raises:
        Mistake: a claim cannot be tested; then none has been.
    """
    from claims.training import is_complete, make_grid, refuse_unfit, refuse_unmeasured
    from cluster.plan import make_plan
    from experiments.overrides import check_overrides

    refuse_unwritable(claims, options["out"])
    trainings = {claim.name: [read_training(claim, name) for name in claim.trainings] for claim in claims}
    for claim in claims:
        refuse_unmeasured(claim, trainings[claim.name])
    needed: dict[str, Training] = {}
    for one in itertools.chain(*trainings.values()):
        if needed.setdefault(one.name, one) != one:
            raise Mistake(f"{needed[one.name].path} and {one.path}: two trainings of one name; name one otherwise")
    seeds = int(options["seeds"])
    made = {name: make_grid(one, seeds, options["output_dir"]) for name, one in needed.items()}
    grids = list(made.values())
    for claim in claims:
        refuse_unfit(claim, [made[name] for name in claim.trainings])
    settings, _ = check_overrides(["env=cartpole", f"output_dir={options['output_dir']}"])
    from runs.ray_session import open_ray

    needs_ray = any(claim.measurement for claim in claims) or not all(map(is_complete, grids))
    with open_ray(make_plan(settings)) if needs_ray else nullcontext():
        if options["dry_run"] == "true":
            from grids.grid_dry_run import describe_grid

            print("\n".join(describe_grid(grid) for grid in grids) or "nothing to train")
            return 0
        for claim in claims:
            if code := test_claim(claim, trainings[claim.name], seeds, options, argv):
                return code  # Ctrl-C, or a run that failed: what is left needs it, or is continued by the same line
        return 0


def test_claim(claim: Claim, trainings: list[Training], seeds: int, options: dict[str, str], argv: list[str]) -> int:
    """Train the arms of a claim, measure them, and print and write the verdict; return the exit code."""
    from claims.training import read_seeds, train

    runs: dict[str, Path] = {}
    for one in trainings:
        trained = train(one, seeds, options["output_dir"], ["python", "-m", "claims", *argv])
        if trained is None:
            return 1
        runs |= {arm: run for arm, run in trained.items() if arm in claim.arms}

    from claims.measures import measure_arm
    from claims.report import describe_finding, describe_seeds, write_report
    from claims.verdict import judge_claim, judge_predictions

    if claim.measurement:
        from claims.measurements import MEASUREMENTS

        curves, table = {}, MEASUREMENTS[claim.measurement](seeds, runs)
    else:
        curves = {arm: read_seeds(runs[arm], seeds) for arm in claim.arms}
        table = {arm: measure_arm(runs_of, claim.until, claim.threshold) for arm, runs_of in curves.items()}
    findings = judge_predictions(claim.predictions, table, is_paired=bool(claim.measurement))
    word = next((word for word in argv if not is_option(word) and Path(word).stem == claim.name), claim.name)
    command = f"python -m claims {word}" + (f" seeds={seeds}" if seeds != PLANNED_SEEDS else "")
    path = write_report(claim, findings, table, curves, resolve_path(options["out"], "out"), command)
    print(f"“{claim.words}”\n  {judge_claim(findings)}")
    print("\n".join(f"  {describe_finding(finding)}" for finding in findings))
    if remark := describe_seeds(seeds):
        print(f"  {remark}")
    print(f"claim: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
