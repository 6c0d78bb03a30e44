"""Claims: what the lecture says, and what was stated about its test before the first run.

claims/<name>.yaml -> Claim, with its predictions
claims/trainings/<name>.yaml -> Training: arms and budget, which several claims share
"""

import typing
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from experiments.yaml_files import read_yaml_nodes
from settings.mistakes import Mistake
from settings.suggestions import suggest_option

ROOM = Path(__file__).resolve().parent
SIDES = ("above", "below")
PLANNED_SEEDS = 10  # of every claim; with fewer it is a trial


@dataclass(frozen=True)
class Prediction:
    """One sentence that must be true if the claim holds: `the oscillation of pg is below that of dqn`.

    Attributes:
        measure: a column of the table that is measured.
        of: an arm.
        side: above or below.
        than: another arm, or a number.
    """

    measure: str
    of: str
    side: str
    than: str | float

    def describe(self) -> str:
        """Return the prediction as a sentence without a full stop."""
        than = f"that of {self.than}" if isinstance(self.than, str) else f"{self.than:g}"
        return f"the {self.measure} of {self.of} is {self.side} {than}"


@dataclass(frozen=True)
class Claim:
    """A claim of the lecture, and its test.

    Attributes:
        name: of its file.
        number: its place in the order of the lecture.
        slide: the title of the slide.
        words: the claim, in the words of the slide.
        stated: how it is tested, stated before the first run.
        predictions: all of them must hold.
        trainings: the names of the trainings whose arms are compared; none where no training is needed.
        arms: those of their arms that stand in the table; the predictions are about these.
        measurement: the function of claims/measurements.py that measures live objects; None: learning curves are
            measured.
        until: agent steps of the learning curves that are measured.
        threshold: the score that `steps_to` waits for; None: it is not measured.
        path: of its file.
    """

    name: str
    number: int
    slide: str
    words: str
    stated: str
    predictions: tuple[Prediction, ...]
    trainings: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()
    measurement: str | None = None
    until: int = 0
    threshold: float | None = None
    path: Path = ROOM


@dataclass(frozen=True)
class Training:
    """Arms that are trained together, as one grid.

    Attributes:
        name: of its file.
        common: the overrides of all arms.
        arms: name -> its own overrides.
    """

    name: str
    common: tuple[str, ...]
    arms: dict[str, tuple[str, ...]]


def list_claims() -> list[Claim]:
    """Return the suite's claims, in the order of the lecture."""
    return sorted((read_claim(path.stem) for path in ROOM.glob("*.yaml")), key=lambda claim: claim.number)


def read_claim(name: str) -> Claim:
    """Read a claim of the suite, by its name, or one of your own, by the path of its file.

    Raises:
        Mistake: there is no such claim, or its file cannot be used.
    """
    path = Path(name).expanduser() if name.endswith(".yaml") else ROOM / f"{name}.yaml"
    if path.suffix == ".yaml" and path.parent != ROOM and not path.is_file():
        raise Mistake(f"claim {name}: there is no such file; python -m claims lists those of the suite")
    if not path.is_file():
        raise Mistake(f"claim {name}: {suggest_option(name, sorted(one.stem for one in ROOM.glob('*.yaml')))}")
    content = read_content(path, Claim, ("name", "path"))
    content["predictions"] = tuple(read_prediction(path, one) for one in content["predictions"])
    for key in ("trainings", "arms"):
        content[key] = tuple(content.get(key, ()))
    content["stated"] = " ".join(str(content["stated"]).split())
    return Claim(path.stem, **content, path=path.resolve())


def read_prediction(path: Path, content: Any) -> Prediction:
    """Return a prediction of a claim's file: {measure: area, of: pg, is: above, than: dqn}.

    Raises:
        Mistake: it has other keys, or is neither above nor below.
    """
    if not isinstance(content, dict) or content.keys() != {"measure", "of", "is", "than"} or content["is"] not in SIDES:
        raise Mistake(f"{path}: a prediction is {{measure: area, of: pg, is: above, than: dqn}}, and not {content}")
    return Prediction(content["measure"], content["of"], content["is"], content["than"])


def read_training(claim: Claim, name: str) -> Training:
    """Read a training of a claim; its file lies in `trainings/` beside that of the claim.

    Raises:
        Mistake: there is no such file, or it cannot be used.
    """
    path = claim.path.parent / "trainings" / f"{name}.yaml"
    if not path.is_file():
        raise Mistake(f"{claim.path}: trainings: there is no {path}")
    content = read_content(path, Training, ("name",))
    common, arms = tuple(content["common"]), {arm: tuple(words) for arm, words in content["arms"].items()}
    return Training(name, common, arms)


def read_content(path: Path, kind: type, derived: tuple[str, ...]) -> dict[str, Any]:
    """Read a YAML file that holds the fields of a class.

    Args:
        path: the file.
        kind: a dataclass.
        derived: fields that do not stand in the file.

    Raises:
        Mistake: it is no YAML, or has a field too few or too many.
    """
    read_yaml_nodes(path)  # whose messages name the line
    content = yaml.safe_load(path.read_text()) or {}
    known = {one.name: one.default is MISSING for one in fields(kind) if one.name not in derived}
    for key in content:
        if key not in known:
            raise Mistake(f"{path}: {key}: {suggest_option(key, list(known))}")
    if missing := [key for key, is_needed in known.items() if is_needed and key not in content]:
        raise Mistake(f"{path}: {', '.join(missing)} is missing; {kind.__name__} in claims/claim.py says what it is")
    for key, hint in typing.get_type_hints(kind).items():  # `trainings: cartpole` for a list of one
        if typing.get_origin(hint) is tuple and isinstance(content.get(key), str):
            content[key] = [content[key]]
    return content
