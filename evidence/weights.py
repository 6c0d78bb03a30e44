"""The weights of a checkpoint, read so that nothing that lies in it is run.

    checkpoint -> is it whole? -> weights.safetensors -> name -> array

Whoever only plays needs nothing else, so a run directory from somebody else can be evaluated safely. Checkpoints of
earlier versions have only RLlib's module_state.pkl; of it an unpickler takes arrays and dictionaries and refuses all
else, because a pickle can name any function to be called.
"""

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load

from algorithms.progress import MODULE_STATE, WEIGHTS
from evidence.run_directory import refuse_damaged
from settings.mistakes import Mistake

ADMITTED = {
    ("collections", "OrderedDict"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),  # numpy 1 and 2
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays and plain containers, and calls nothing but what puts those together."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names, if it is admitted.

        Raises:
            pickle.UnpicklingError: it is not.
        """
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array and was not run")
        return super().find_class(module, name)


def read_weights(checkpoint: Path) -> dict[str, np.ndarray]:
    """Read the weights of a checkpoint.

    Returns:
        Name in the network's state_dict -> array.

    Raises:
        Mistake: the checkpoint is damaged, or holds something else than weights.
    """
    refuse_damaged(checkpoint)
    file = WEIGHTS if (checkpoint / WEIGHTS).exists() else MODULE_STATE
    try:
        data = (checkpoint / file).read_bytes()
        weights = load(data) if file == WEIGHTS else ArrayUnpickler(BytesIO(data)).load()
    except Exception as error:  # wrong bytes can make pickle raise anything
        why = " ".join(str(error).split())
        raise Mistake(
            f"{checkpoint}: {file} cannot be read as weights ({why}); evaluate the run it was saved by"
        ) from error
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(array, np.ndarray) and array.dtype.kind in "fiub"
        for name, array in weights.items()
    ):
        raise Mistake(f"{checkpoint}: {file} holds something else than weights; evaluate the run it was saved by")
    return weights
