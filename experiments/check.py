"""The check of an experiment's settings, before any process starts.

Each setting is checked against its class in settings/, then against the other settings, then against this machine. The
first problem is raised as a Mistake: one sentence that names the setting, its value and a way out.
"""

import re
from difflib import get_close_matches

from cluster.capacity import refuse_too_large_for_machine
from cluster.plan import Plan, make_plan
from custom_models.convolutions import compute_smallest_dim, refuse_small_pictures
from environments.frames import layout_of
from environments.games import check_game, may_never_end
from environments.names import name_environment
from experiments.evaluations import refuse_impossible_evaluations
from extensions.gymnasium_ids import check_environment
from settings.algorithms import find_base
from settings.experiment import select_tables
from settings.mistakes import Mistake
from settings.own_parts import is_own
from settings.protocols import complete_rules
from settings.runs import RunSettings
from settings.setting import explain_unknown, list_settings, name_kind
from settings.synonyms import list_owners

MISSPELT = 0.85  # the similarity from which on a name in `model` is not taken for a setting of a user's own torso
SETTING_GROUPS = ("algo", "env", "model", "cluster", "stop", "made_for")


def check_settings(settings: dict) -> dict:
    """Check every setting of an experiment, and return the settings, each converted to its kind.

    Args:
        settings: the composed experiment as plain data. The group `search` of a search is returned unchanged;
            `tune_searches/check.py` checks it.

    Raises:
        Mistake: a setting of the command line or of a YAML file cannot work.
    """
    settings = {key: dict(value) if isinstance(value, dict) else value for key, value in settings.items()}
    search = settings.pop("search", None)  # files in tune_searches/ have this group, whatever the command is
    of_run = list_settings(RunSettings)
    for key in (*SETTING_GROUPS, "seed", *of_run):
        if key not in settings:
            raise Mistake(f"{key} is missing from the experiment; leave it as experiments/config.yaml has it")
    for group in SETTING_GROUPS:
        if not isinstance(settings[group], dict):
            kind = name_kind(settings[group])
            raise Mistake(f"{group}={settings[group]} is {kind}, and {group} is a group of settings", group)
    env = settings["env"] | ({} if "game" in settings["env"] else complete_rules(settings["env"]))
    settings["env"] = env | {"name": name_environment(env)}
    _check_made_for(settings)  # first: another algorithm would be refused by a less helpful message
    for group, (table, whose) in select_tables(settings).items():
        for key in settings[group]:
            is_for_own_torso = group == "model" and is_own(settings[group].get("torso"))
            looks_misspelt = get_close_matches(key, table, 1, MISSPELT) and not any(name in key for name in table)
            if key not in table and (looks_misspelt or not is_for_own_torso):
                name = f"{group}.{key}"
                raise explain_unknown(name, whose, [f"{group}.{known}" for known in table], list_owners(name))
        for key, setting in table.items():
            if key not in settings[group]:
                raise Mistake(f"{group}.{key} is missing; it takes {setting.describe_values()}")
            settings[group][key] = setting.check(f"{group}.{key}", settings[group][key])
    for key, value in settings.items():
        if key not in SETTING_GROUPS and key not in of_run and key != "seed":
            raise explain_unknown(key, "an experiment", [*of_run, *SETTING_GROUPS, "seed"])
        if key in of_run:
            settings[key] = of_run[key].check(key, value)
    for key, value in (("output_dir", settings["output_dir"]), ("env.id", settings["env"].get("id", "none"))):
        if not value:
            raise Mistake(f"{key} is empty; give it a value", key)
    names = {"algo.name": settings["algo"]["name"], "env.name": settings["env"]["name"], "label": settings["label"]}
    for key, name in names.items():
        if name is not None and not re.fullmatch(r"[\w.-]{0,99}\w", name):
            raise Mistake(f"{key}={name} becomes the name of a directory: 1 to 100 letters, digits, - and _", key)
    plan = make_plan(settings, seeds_per_process=1)
    settings["seed"] = list(plan.seeds) if isinstance(settings["seed"], list) else plan.seeds[0]  # whole: 1.0 is 1
    if "game" in settings["env"]:
        check_game(settings["env"]["game"])
    else:
        check_environment(settings["env"], find_base(settings["algo"]) or "")
    refuse_impossible_evaluations(settings)
    _check_model(settings)
    _check_sizes(plan)
    _check_own_parts(plan)
    refuse_too_large_for_machine(plan)
    return settings | {"search": search} if settings["command"] == "search" else settings


def _check_made_for(settings: dict) -> None:
    """Refuse a tuned config together with another algorithm or environment than it was made for."""
    for group, name in settings["made_for"].items():
        if group not in ("algo", "env"):
            raise Mistake(f"made_for.{group}: a tuned config is made for an algo and an env; leave {group} out")
        if (found := settings[group].get("name")) != name:
            raise Mistake(f"{group}={found}: the tuned config was made for {group}={name}; type one of them only")


def _check_model(settings: dict) -> None:
    """Refuse a torso that does not fit the observations, and an LSTM without a shared trunk."""
    model, env = settings["model"], settings["env"]
    if compute_smallest_dim(model["torso"]):
        refuse_small_pictures(model["torso"], env, layout_of(env))
    if model["lstm_size"] and not model["shared_trunk"]:
        raise Mistake(
            f"model.lstm_size={model['lstm_size']} is one memory for both heads, and model.shared_trunk=false gives "
            "them two torsos; set model.shared_trunk=true, or model.lstm_size=null"
        )


def _check_sizes(plan: Plan) -> None:
    """Refuse envs, minibatches or processes whose numbers do not fit each other."""
    settings, runners = plan.settings, plan.num_env_runners
    algo, model, cluster = settings["algo"], settings["model"], settings["cluster"]
    base = find_base(algo)
    players, players_key = max(1, runners), "cluster.num_env_runners"
    if base == "a3c":
        players, players_key = max(1, algo["num_workers"]), "algo.num_workers"
    if algo["num_envs"] % players:
        raise Mistake(
            f"algo.num_envs={algo['num_envs']} cannot be shared evenly by {players_key}={players}; "
            "make one a multiple of the other"
        )
    if runners > players:
        raise Mistake(
            f"cluster.num_env_runners={runners} is larger than the number of workers, algo.num_workers="
            f"{algo['num_workers']}; lower the first or raise the second"
        )
    _check_runners(algo, runners, cluster["gpus_per_runner"])
    _check_learners(algo, runners, cluster["num_learners"], cluster["gpus_per_learner"])
    if cluster.get("threads") == "shards":  # run directories of earlier versions are without it
        cores = plan.training_cpus if base != "a3c" and not cluster["num_learners"] else cluster["cpus_per_runner"]
        _check_shards(base, model["torso"], cluster["gpus_per_learner"], 1 if cluster["num_learners"] else cores)
    size = next((name for name in ("minibatch_size", "microbatch_size") if algo.get(name)), None)
    if size and "horizon" in algo:
        batch = algo["num_envs"] * algo["horizon"]
        if algo[size] > batch:
            raise Mistake(
                f"algo.{size}={algo[size]} is larger than the batch, algo.num_envs x algo.horizon = "
                f"{algo['num_envs']} x {algo['horizon']} = {batch}; lower it, or raise one of the two"
            )
        if model.get("lstm_size") and algo[size] < algo["horizon"]:
            raise Mistake(
                f"algo.{size}={algo[size]} is shorter than a sequence, algo.horizon={algo['horizon']}: an LSTM learns "
                "from whole sequences; raise the first or lower the second"
            )
    if base == "pg":
        _check_episodes(settings, max(1, runners))
    if base == "dqn":
        _check_dqn(settings, runners)


def _check_own_parts(plan: Plan) -> None:
    """Refuse parts from a user's own modules that cannot work; without such parts, nothing is imported for it."""
    settings = plan.settings
    if settings["callbacks"]:
        from extensions.callbacks import check_callbacks

        check_callbacks(settings["callbacks"])
    if ":" in settings["env"].get("id", "") or settings["env"].get("wrappers"):
        from extensions.own_environment import try_game

        try_game(settings["env"])
    if "implementation" in settings["algo"]:
        from experiments.own_parts import check_implementation

        check_implementation(settings["algo"])
    if is_own(settings["model"]["torso"]):
        from experiments.own_parts import check_torso

        check_torso(settings["model"] | {"dtype": plan.dtype}, settings["env"])


def _check_runners(algo: dict, runners: int, gpus: float) -> None:
    """Refuse GPUs of env runners, or PPO's overlap, if the run has no env runners that could use them."""
    if algo.get("overlap") and not runners:
        raise Mistake(
            "algo.overlap=true needs env runners, which play while the training process learns, and "
            "cluster.num_env_runners=0; set cluster.num_env_runners=1 or more, or algo.overlap=false"
        )
    if gpus and find_base(algo) in ("a3c", "dqn"):
        raise Mistake(
            f"cluster.gpus_per_runner={gpus:g}: algo={algo['name']} acts on the CPU; leave it at 0, or use algo=ppo"
        )
    if gpus and not runners:
        raise Mistake(
            f"cluster.gpus_per_runner={gpus:g} is for env runners, and cluster.num_env_runners=0; set "
            "cluster.num_env_runners=1 or more, or cluster.gpus_per_runner=0"
        )


def _check_learners(algo: dict, runners: int, learners: int, gpus: float) -> None:
    """Refuse several learners if the algorithm has one, if they share a GPU, or if they cannot share the rollouts."""
    if learners <= 1:
        return
    if find_base(algo) in ("a3c", "dqn"):
        raise Mistake(f"cluster.num_learners={learners}: algo={algo['name']} has one learner; leave it at 0")
    if 0 < gpus < 1:
        raise Mistake(f"cluster.gpus_per_learner={gpus:g}: several learners cannot share a GPU; set it to 1")
    if not runners or runners % learners:
        raise Mistake(
            f"cluster.num_learners={learners}: whole rollouts are shared among the learners, and "
            f"cluster.num_env_runners={runners} is no multiple of their number; change one of the two"
        )


def _check_shards(base: str | None, torso: str, gpus: float, cores: float) -> None:
    """Refuse shards of a learner that cannot compute in them."""
    if base == "dqn":
        raise Mistake("cluster.threads=shards: algo=dqn learns with RLlib's own learner; leave it at auto")
    if not compute_smallest_dim(torso):
        raise Mistake(f"cluster.threads=shards: model.torso={torso} has no convolutions of the suite; leave it at auto")
    if gpus:
        raise Mistake(
            f"cluster.threads=shards: with cluster.gpus_per_learner={gpus:g} a GPU learns; leave one at its default"
        )
    if cores < 2:
        raise Mistake("cluster.threads=shards: a learner of this run has one core; leave it at auto, or give it more")


def _check_episodes(settings: dict, runners: int) -> None:
    """Refuse settings of PG with which its complete episodes cannot be shared among the envs, or may never end."""
    algo, env = settings["algo"], settings["env"]
    if algo["episodes_per_update"] % algo["num_envs"]:
        raise Mistake(
            f"algo.episodes_per_update={algo['episodes_per_update']} cannot be shared evenly by algo.num_envs="
            f"{algo['num_envs']}; make it a multiple: all envs play equally many, or short episodes are favoured"
        )
    if may_never_end(env):
        raise Mistake(
            f"env.id={env['id']} has no time limit, and algo=pg learns from complete episodes only; "
            "add env.kwargs.max_episode_steps=1000, or use algo=a2c"
        )


def _check_dqn(settings: dict, runners: int) -> None:
    """Refuse settings that DQN cannot work with: an LSTM, env runners, a replay buffer that does not fit the run."""
    algo, memory = settings["algo"], settings["model"].get("lstm_size")
    if memory:
        raise Mistake(f"model.lstm_size={memory}: algo=dqn learns from single steps and has no memory; leave it null")
    if runners:
        raise Mistake(
            f"cluster.num_env_runners={runners}: algo=dqn plays in the training process, beside its replay buffer; "
            "leave it at 0"
        )
    starts, buffer = algo["learning_starts"], algo["buffer_size"]
    if algo["minibatch_size"] > starts:
        raise Mistake(
            f"algo.minibatch_size={algo['minibatch_size']} is larger than algo.learning_starts={starts}, the number "
            "of agent steps in the buffer at the first update; lower the first or raise the second"
        )
    if starts > buffer:
        raise Mistake(
            f"algo.learning_starts={starts} is larger than algo.buffer_size={buffer}: the buffer would never hold so "
            "many agent steps; lower the first or raise the second"
        )
    if starts >= settings["stop"]["agent_steps"]:
        raise Mistake(
            f"algo.learning_starts={starts} is not below stop.agent_steps={settings['stop']['agent_steps']}: the run "
            "would end before the first update; lower the first or raise the second"
        )
    if algo["n_step"] > 1 and not algo["prioritized"]:
        raise Mistake(
            f"algo.n_step={algo['n_step']}: RLlib's uniform buffer discounts n-step returns wrongly at the end "
            "of an episode; set algo.prioritized=true as well, or leave algo.n_step at 1"
        )
