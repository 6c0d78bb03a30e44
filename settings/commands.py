"""The settings that each command reads, as tables; `experiments/commands.py` refuses all others."""

from typing import Any

from settings.environments import AtariSettings
from settings.protocols import PROTOCOLS
from settings.setting import list_settings

VIDEO_SETTINGS = ("format", "scale", "fps")
# Commands that read a run directory, each with the only overrides that it reads; all other settings are the run's own.
READER_SETTINGS = {
    "evaluate": ("run", "checkpoint", "way", "seed", "episodes", "config_dir"),
    "record": ("run", "checkpoint", "way", "seed", "games", *VIDEO_SETTINGS, "replay", "config_dir"),
    "page": ("run", "checkpoint", "config_dir"),
    "watch": ("run", "checkpoint", "port", "config_dir"),
    "export": ("run", "checkpoint", "format", "out", "config_dir"),
    "compare": ("runs", "out"),
    "audit": ("run", "checkpoint", "config_dir"),  # or an experiment, without run
    "promote": ("run",),
}
READER_COMMANDS = "command=evaluate, record, page, watch, export, audit and promote"
PLAYER_COMMANDS = ("evaluate", "record")  # reader commands that also read env.<field> of a protocol
# What a setting is for a command, where that is not what experiments/config.yaml and the setting's own options say.
COMMAND_DEFAULTS = {"record": {"way": "stochastic"}, "export": {"format": "onnx"}}
COMMAND_OPTIONS = {
    "record": {"way": ("stochastic", "greedy"), "format": ("mp4", "webp", "gif")},
    "export": {"format": ("onnx", "torchscript")},
}
PROTOCOL_SETTINGS = {name: list_settings(AtariSettings)[name] for name in ("protocol", *PROTOCOLS["classic"])}
# Settings that a command which composes an experiment does not read -> the end of the message that refuses them.
READER_ONLY_SETTINGS = {
    "run": f"only {READER_COMMANDS} read it; to continue a run, give resume=<it>",
    "checkpoint": "only command=evaluate, record, page, watch, export and audit take a checkpoint; a run that "
    "continues takes the newest, leave it out",
    "way": "only command=evaluate and command=record read it; leave it out",
    "port": "only command=watch serves a page; leave it out",
    "runs": "only command=compare reads it; leave it out",
    "out": "only command=compare and command=export read it; output_dir says where runs go",
    "max_runs": "only a grid reads it; add -m, or leave it out",
    "format": "only command=record and command=export read it; leave it out",
} | dict.fromkeys(("games", "scale", "fps", "replay"), "only command=record makes videos; leave it out")
IGNORED_SETTINGS = {
    "train": {"search": "only a search reads it; choose one with tune_searches=<name>, or leave it out"},
    "search": {
        "page": "a search has a page of its own; leave it out",
        "evaluate": "a search compares training scores and plays no evaluation; leave it out",
        "evaluate_every": "a search compares training scores and plays no evaluation; leave it out",
        "episodes": "a search plays no evaluation; leave it out",
        "label": "a search is filed under search.name; set that one",
        "keep_milestones": "a search keeps no milestones, because its many trials would fill the disk; leave it out",
    },
}
IGNORED_SETTINGS["submit"] = IGNORED_SETTINGS["train"]
IGNORED_SETTINGS["audit"] = IGNORED_SETTINGS["train"] | dict.fromkeys(
    ("evaluate", "evaluate_every", "episodes", "page", "label", "logger", "callbacks", "dry_run", "pretrained"),
    "an audit trains no run; leave it out",
)
# Settings that only a command line may set, with their defaults.
COMMAND_LINE_DEFAULTS: dict[str, Any] = dict.fromkeys(
    ("run", "runs", "out", "checkpoint", "resume", "pretrained", "config_dir", "scale", "fps", "replay", "port")
) | {"way": "both", "trust": False, "games": 3, "format": "mp4"}
DERIVED_NAMES = {"algo.name": "choose an algorithm with algo=<name>", "env.name": "add a word to it with label=<word>"}
