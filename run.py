"""The command line of the suite: it composes an experiment with Hydra, checks it, and runs the command.

    python run.py                                        PPO on Assault, 10 million agent steps
    python run.py algo=ppo env=pong size=short seed=[1,2,3]
    python run.py resume=outputs/ppo/assault/<run>       resume; further overrides replace saved settings
    python run.py command=evaluate run=outputs/ppo/assault/<run> episodes=30
    python run.py command=record run=outputs/ppo/assault/<run> games=3
    python run.py -m algo=a2c,ppo env=cartpole seed=range(1,6)      a grid, and a comparison of its arms
    python run.py command=compare runs=[<run>,<run>]
    python run.py env=cartpole --cfg job                 print the experiment, run nothing

Exit codes: 0, the command has finished; 2, a setting or a flag cannot work; 1, all other failures.
"""

import os
import sys
from pathlib import Path

# This has to be set before PyTorch is loaded. Its threads then sleep while they wait for each other; threads that spin
# instead can take the core of the thread that they wait for, when other programs are busy on the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if __name__ == "__main__":  # before the other imports, which take seconds and may be interrupted
    from command_line.output_streams import protect_output_streams
    from runs.interrupt import handle_early_signals

    handle_early_signals()
    protect_output_streams()

try:
    from command_line.flags import format_experiment, refuse_bare_words, split_arguments
    from command_line.output_streams import print_answer
    from experiments.composition import remove_resume
    from experiments.config_dir import open_typed_folder
    from run_directory.writing import FULL_DISK_ERRORS
except ModuleNotFoundError as error:
    sys.exit(f"error: {error} for {sys.executable}; type make setup, then source .venv/bin/activate")

from environments.passwords import mask_passwords
from settings.mistakes import EnvironmentFault, Mistake


def main(argv: list[str]) -> int:
    """Run a command line, without the name of the program; return the exit code."""
    try:
        if argv[:1] == ["--complete"]:  # a shell calls this at every Tab
            from command_line.completion import complete_word

            print("\n".join(complete_word("".join(argv[1:2]), argv[2:])))
            return 0
        if argv[:1] == ["--completion"]:
            from command_line.completion import get_completion_script

            print(get_completion_script(" ".join(argv[1:])))
            return 0
        arguments = split_arguments(argv)
        overrides, flags = arguments.overrides, arguments.flags
        if "--version" in flags:
            from command_line.versions import format_versions

            return print_answer(format_versions())
        open_typed_folder(overrides)
        if "--help" in flags:
            from command_line.help import format_help

            return print_answer(format_help([word for word in overrides if not word.startswith("config_dir=")]))
        refuse_bare_words(overrides)
        to_submit = [override for override in overrides if override != "command=submit"]
        if "--multirun" in flags:
            from grids.commands import run_multirun, submit_grid

            if to_submit != overrides and "--cfg" not in flags:
                return submit_grid(to_submit)
            return run_multirun(argv, overrides, print_only="--cfg" in flags, package=arguments.package)
        if "command=submit" in overrides and "--cfg" not in flags:
            return submit_experiment(to_submit)
        settings, resumed = read_experiment(overrides)
        if "--cfg" in flags:
            return print_answer(format_experiment(settings, arguments.package))
        if settings["command"] == "submit":  # set in another way, which the job would inherit
            raise Mistake("command=submit has to be typed on the command line, in this form")
        return run_command(settings, argv, overrides, resumed)
    except Mistake as mistake:
        print(f"error: {mask_passwords(str(mistake))}", file=sys.stderr)
        return 2
    except OSError as error:  # a directory that is somebody else's, or a full disk
        is_full = error.errno in FULL_DISK_ERRORS
        if error.filename is None or not (is_full or isinstance(error, PermissionError)):
            raise
        print(f"error: {error.filename}: {error.strerror if is_full else 'no permission'}", file=sys.stderr)
        return 1 if is_full else 2
    except EnvironmentFault as fault:  # of a command that plays games; a training prints it itself
        print(f"error: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before or after training; during training, the run writes a checkpoint first
        print("stopped", file=sys.stderr)
        return 1


def read_experiment(overrides: list[str]) -> tuple[dict, Path | None]:
    """Return the checked settings of an experiment, and the run directory that is resumed, or None.

    Raises:
        Mistake: an override cannot work.
    """
    from experiments.overrides import check_overrides, name_place_of_mistake
    from tune_searches.check import check_search_part

    settings, resumed = check_overrides(overrides)
    with name_place_of_mistake(overrides, resumed):
        return check_search_part(settings), resumed


def run_command(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None) -> int:
    """Run the command of an experiment; return the exit code.

    The last line that a training or a search prints is its directory.
    """
    from run_directory.continuation import refuse_untrusted_directory
    from runs.interrupt import MESSAGE_BEFORE_TRAINING, Interrupt
    from settings.commands import READER_SETTINGS

    Interrupt.message = "stopped" if settings["command"] in READER_SETTINGS else MESSAGE_BEFORE_TRAINING
    if resumed:  # before any setting of its directory takes effect, such as the address of a cluster
        refuse_untrusted_directory(resumed, overrides)
    if settings["command"] == "compare":
        from comparisons.commands import compare

        return compare(settings["runs"], settings["out"])
    if settings["command"] == "audit":
        from audit.commands import audit

        return audit(settings, ["python", "run.py", *argv])
    if settings["command"] in READER_SETTINGS:
        from pages.commands import run_reader

        return run_reader(settings)
    from loggers.check import refuse_unusable_loggers

    refuse_unusable_loggers(settings)
    if settings["dry_run"]:
        return show_plan(settings)
    from pages.commands import show_search, show_training

    command = ["python", "run.py", *argv]
    if settings["command"] == "search":
        from tune_searches.search import search

        folder, code = search(settings, command, remove_resume(overrides), resumed)
        code = show_search(folder, finished=code == 0) or code
        print(f"search directory: {folder}")
        return code
    from command_line.next_steps import describe_next_steps
    from runs.train import train

    run, code = train(settings, command, remove_resume(overrides), resumed)
    Interrupt.message = f"stopped; resume={run} does what is left"
    if code == 0:
        code = show_training(run, settings)
        print(describe_next_steps(run, settings))
    print(f"run directory: {run}")
    return code


def show_plan(settings: dict) -> int:
    """Print the planned node of each process and the traffic between processes; return the exit code."""
    from cluster.connection import list_nodes
    from cluster.dry_run import describe_plan, measure_pace
    from cluster.plan import make_plan
    from run_directory.outputs import refuse_unwritable_output
    from runs.build import build_config
    from runs.ray_session import open_ray

    refuse_unwritable_output(settings)
    with open_ray(plan := make_plan(settings), saves=False):
        planned = plan, build_config(plan), list_nodes()
        print(describe_plan(*planned, measure_pace(*planned)))
    return 0


def submit_experiment(overrides: list[str]) -> int:
    """Check an experiment, then submit the same overrides as a job on a cluster; return the exit code."""
    from cluster.submit import add_resume_overrides, submit_job
    from settings.commands import READER_SETTINGS

    typed = next((word for word in overrides if word.startswith("command=")), "")
    if typed.partition("=")[2] in READER_SETTINGS:  # before other settings are checked, which it would not read
        raise Mistake(f"{typed}: a job is a training or a search; leave {typed} out, or command=submit")
    settings, _ = read_experiment(add_resume_overrides(overrides))
    if settings["command"] in (*READER_SETTINGS, "submit"):
        raise Mistake(f"command={settings['command']}: a job is a training or a search; leave command out")
    print(submit_job(settings, overrides))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
