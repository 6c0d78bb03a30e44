"""The settings of a run: its end, its processes and their cluster, its files.

Their values stand in experiments/config.yaml and experiments/cluster/.
"""

from dataclasses import dataclass

from settings.setting import MANY, PROCESSES, STEPS, YEAR_S, Setting, above, any_value, at_least, one_of

# An experiment has one seed or a list of seeds; each seed is checked by itself.
SEED = Setting("seed of all random streams; a list, 1,2,3 or range(1,4), starts one run per seed", int, 0, 2**31 - 1)

# Settings that two starts of the same experiment may differ in
NOT_THE_EXPERIMENT = {"cluster", "output_dir", "label", "resume", "run", "trust", "on_usr1", "dashboard", "dry_run"}
NOT_THE_EXPERIMENT |= {"max_failures", "checkpoint_every_s", "keep_milestones", "report_every", "evaluate", "page"}
NOT_THE_EXPERIMENT |= {"episodes", "checkpoint", "way", "games", "format", "scale", "fps", "replay", "port", "out"}
NOT_THE_EXPERIMENT |= {"max_runs", "runs", "callbacks", "config_dir", "logger", "evaluate_every"}
NOT_THE_EXPERIMENT |= {"size"}  # the other settings hold the sizes that this name stands for


@dataclass(frozen=True)
class ClusterSettings:
    """The processes of a run, with their CPUs and GPUs, and the Ray cluster they run on."""

    address: str = any_value("local: Ray is started on this machine for the run; auto or host:port: a running cluster")
    grows: bool = any_value("the cluster has an autoscaler: wait for nodes that it adds")
    placement: str = one_of(
        ("pack", "spread"), "processes of a run on one node where they fit, or spread over the nodes"
    )
    num_env_runners: int | None = at_least(
        0, "number of env runners; 0: the training process plays; null: the choice of the algorithm", most=PROCESSES
    )
    cpus_per_runner: float = at_least(0.001, "CPUs of each env runner", most=PROCESSES)
    cpus: int | None = at_least(
        1, "CPUs of the training process; null: the CPUs that are left, 8 at most; 1 for mlp", most=PROCESSES
    )
    threads: str = one_of(
        ("auto", "shards", "openmp"),
        "how the cores of a learner share a minibatch: a part each, or a part of every operation; auto: shards on up "
        "to 4 cores with a network of convolutions; unless openmp, one core acts, and computes all "
        "shards, while that is faster",
    )
    num_learners: int = at_least(0, "number of learner processes; 0: the training process learns", most=PROCESSES)
    gpus_per_learner: float = at_least(0, "GPUs of each learner; a fraction where runs share one", most=1)
    gpus_per_runner: float = at_least(0, "GPUs of each env runner, which then acts there", most=1)


@dataclass(frozen=True)
class StopSettings:
    """The conditions that end a run; the first one that is met ends it."""

    agent_steps: int = at_least(
        1, "agent steps after which a run ends; each lasts env.frameskip emulator frames", most=STEPS
    )
    time_s: float | None = above(0, "seconds of training after which a run ends; null: never", most=YEAR_S)
    episode_return: float | None = any_value(
        "mean score of the last 100 games, at least 20, at which a run ends; null: never"
    )


@dataclass(frozen=True)
class RunSettings:
    """The settings that belong to no group: the command and its settings, directories, and records."""

    output_dir: str = any_value("runs go to <output_dir>/<algo>/<env>/")
    config_dir: str | None = any_value(
        "a folder of your own, searched for YAML groups and for modules; also --config-dir <folder>"
    )
    label: str | None = any_value("a word that is added to the run directory's name")
    run: str | None = any_value(
        "the run directory that command=evaluate, record, page, watch, export, audit and promote read; or latest"
    )
    runs: list[str] | None = any_value(
        "the run directories that command=compare compares: [<run>,<run>] or {label:<run>}; a grid stands for its arms"
    )
    out: str | None = any_value(
        "the new folder of command=compare or command=export; null: one in outputs/comparisons or outputs/exports"
    )
    checkpoint: str | None = any_value(
        "the checkpoint that command=evaluate, record, page, watch, export and audit take: best, last, previous, "
        "milestone_<percent>, or a path; null: the best, and the newest for watch"
    )
    way: str = one_of(
        ("stochastic", "greedy", "both"),
        "how command=evaluate chooses actions: drawn, the likeliest, or both in turn; record: one of the first two",
    )
    games: int = at_least(1, "complete games that command=record plays and films", most=1000)
    format: str = one_of(
        ("mp4", "webp", "gif", "onnx", "torchscript"),
        "file format: of command=record's videos one of the first three, of which mp4 has sound; of command=export's "
        "network one of the others",
    )
    scale: int | None = at_least(1, "magnification of command=record's videos; null: 2 for Atari, else 1", most=8)
    fps: int | None = one_of((60, 30, 15), "pictures per second of command=record's videos; null: 60 in mp4, else 15")
    replay: str | None = any_value(
        "the file of a recorded game, which command=record scores and films again instead of playing"
    )
    port: int | None = at_least(
        1, "port of command=watch's page on 127.0.0.1; null: 8008, or the next free port", most=65_535
    )
    resume: str | None = any_value(
        "a run directory to resume, or latest; auto: the directory of this experiment, if it exists"
    )
    pretrained: str | None = any_value("a run, agent or checkpoint whose weights a training begins with; null: fresh")
    trust: bool = any_value("continue a run directory of another user or host, whose pickles can run any code")
    on_usr1: str = one_of(
        ("checkpoint", "stop"), "effect of the signal SIGUSR1: write a checkpoint and continue, or stop"
    )
    episodes: int = at_least(1, "complete games per evaluation and way of playing", most=10_000)
    evaluate: bool = any_value("play complete games at the end of training")
    evaluate_every: int | None = at_least(
        1,
        "agent steps between two evaluations of the newest weights, played by a process beside training; null: none",
        most=STEPS,
    )
    page: bool = any_value("record a game at the end of training, and write the page of the run")
    logger: list[str] | None = one_of(
        ("tensorboard", "wandb", "mlflow"),
        "where the rows of progress.csv are sent as well; [tensorboard,wandb] for several; null: nowhere",
    )
    checkpoint_every_s: float = above(0, "seconds between checkpoints; there is one at the end, too", most=YEAR_S)
    keep_milestones: bool = any_value(
        "keep the weights at 0, 1, 3, 10, 30 and 100 % of stop.agent_steps, to play with; see checkpoint"
    )
    report_every: int = at_least(1, "agent steps per row of progress.csv, rounded up to whole rollouts", most=STEPS)
    callbacks: list[str | dict] | None = any_value(
        "your own classes that hear of a run's start, rows, checkpoints and end: [module:Class], or with arguments "
        "[{module:Class: {argument: value}}]"
    )
    max_failures: int = at_least(
        0, "restarts of a run from its last checkpoint after one of its processes has died", most=PROCESSES
    )
    max_runs: int = at_least(1, "runs that a grid (-m) may have; a larger grid has to be asked for", most=MANY)
    dashboard: bool = any_value("start Ray's dashboard, at http://127.0.0.1:8265")
    dry_run: bool = any_value("print the node of each process and the traffic between processes, and stop")
    command: str = one_of(
        ("train", "evaluate", "record", "page", "watch", "export", "compare", "audit", "search", "promote", "submit"),
        "the command to run",
    )
    size: str = one_of(
        ("smoke", "short", "full"),
        "length of a run: smoke under a minute, with games cut short, short some minutes, full as the experiment says",
    )
