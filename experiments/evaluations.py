"""The check of the evaluations that a training is asked for: its games have to end, and the first has to come."""

from environments.games import may_never_end
from settings.mistakes import Mistake


def refuse_impossible_evaluations(settings: dict) -> None:
    """Refuse evaluations in an environment without a time limit, and a first one beyond the end of the run.

    Args:
        settings: of the experiment, each checked by itself.

    Raises:
        Mistake: an evaluation cannot be played, or would never come.
    """
    if settings["command"] != "train":
        return
    env, every, budget = settings["env"], settings["evaluate_every"], settings["stop"]["agent_steps"]
    asked, without = ("evaluate=true", "evaluate=false") if settings["evaluate"] else ("", "")
    if every is not None:
        asked, without = asked or f"evaluate_every={every}", without or "evaluate_every=null"
    if asked and may_never_end(env):
        raise Mistake(
            f"{asked}: env.id={env['id']} has no time limit, and an evaluation plays complete games only; "
            f"add env.kwargs.max_episode_steps=1000, or type {without}"
        )
    if every is not None and every > budget:
        raise Mistake(
            f"evaluate_every={every} is larger than stop.agent_steps={budget}: the run would end before its first "
            "evaluation; lower it, or type evaluate=true for an evaluation at the end"
        )
