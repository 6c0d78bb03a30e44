"""The command of this room: `command=audit`, of an experiment or, with run=<run directory>, of what was trained.

settings -> live objects -> probes, a line each as they come -> audit.json and audit.md
"""

import shlex
import time
from pathlib import Path
from typing import Any

from cluster.plan import make_plan
from environments.passwords import mask_passwords
from experiments.composition import compose_settings
from playing.saved_settings import read_run_settings
from playing.seed_checkpoints import refuse_foreign_checkpoint
from probes.audit_file import AUDIT_JSON, AUDIT_MD
from probes.probe import FAIL
from run_directory.checkpoints import find_checkpoint
from run_directory.layout import list_seed_runs
from run_directory.outputs import refuse_unwritable_output
from run_directory.writing import save_file
from settings.algorithms import find_base
from settings.mistakes import Mistake, resolve_path


def audit(settings: dict[str, Any], command: list[str]) -> int:
    """Audit an experiment or a run, print what was found and write it; return the exit code, 1 if a probe failed.

    Args:
        settings: checked settings of an experiment; or `run` and `checkpoint`.
        command: the command line, which stands in the files.

    Raises:
        Mistake: there is no such run or checkpoint, or the algorithm is RLlib's own.
    """
    run = checkpoint = None
    if settings.get("run"):
        whole = resolve_path(settings["run"], "run")
        refuse_foreign_checkpoint(whole, settings["checkpoint"])
        run = list_seed_runs(whole)[0]
        checkpoint = find_checkpoint(run, settings["checkpoint"])
        settings = compose_settings([]) | read_run_settings(run)  # a published agent has no more than it plays by
    if find_base(settings["algo"]) == "dqn":
        raise Mistake("algo=dqn is RLlib's own, whose objects an audit does not know; it audits pg, a2c, a3c and ppo")
    title = f"{settings['algo']['name']} on {settings['env']['name']}"
    folder = Path(settings["output_dir"]).expanduser() / "audits"
    folder = run or folder / f"{title.replace(' on ', '_')}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"
    if not run:
        refuse_unwritable_output(settings, "audits")
    print(f"audit of {title}{f', {checkpoint}' if checkpoint else ''}: one to two minutes", flush=True)
    return run_audit(settings, checkpoint, title, folder, shlex.join(mask_passwords(command)))


def run_audit(settings: dict[str, Any], checkpoint: Path | None, title: str, folder: Path, command: str) -> int:
    """Build the live objects, ask the probes, and write the files; return the exit code."""
    from audit.report import count_answers, describe_audit, format_files, run_probes
    from probes.subject import ALONE, Subject
    from runs.ray_session import open_ray

    began, alone = time.monotonic(), settings | {"cluster": settings["cluster"] | ALONE}
    with open_ray(make_plan(alone)):
        subject = Subject(alone, checkpoint)
        try:
            answers = run_probes(subject, lambda line: print(line, flush=True))
            content = describe_audit(subject, answers, title, checkpoint, time.monotonic() - began)
        finally:
            subject.close()
    print(f"\n{count_answers(answers)}, in {content['seconds']:.0f} s")
    folder.mkdir(parents=True, exist_ok=True)
    texts = format_files(content, command)
    complaints = [save_file(folder / name, texts[name]) for name in (AUDIT_JSON, AUDIT_MD)]
    if any(complaints):
        print(next(filter(None, complaints)))
    else:
        print(f"audit: {folder / AUDIT_MD}")
    return int(any(answer.finding.status == FAIL for answer in answers))
