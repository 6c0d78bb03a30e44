"""The check of `logger` before a run starts: what is known of a logger without asking its server.

settings -> is the package installed? -> W&B: is there a key? MLflow: is the address a URL? -> Mistake, or nothing
"""

import configparser
import importlib.util
import netrc
import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlparse

from environments.checkout import ROOT
from environments.passwords import mask_passwords
from settings.mistakes import Mistake

TENSORBOARD = "tensorboard"  # its files are written by run_directory/, and need no further package
WANDB_MODES = ("online", "offline", "disabled")  # values of WANDB_MODE
WANDB_CONFIG_DIR = "~/.config/wandb"  # `wandb login --host` keeps the address of another server there


def refuse_unusable_loggers(settings: dict) -> None:
    """Refuse a logger that cannot work: its package is missing, W&B has no key, or MLflow's address is no URL.

    A server is not asked: without it, training goes on, and says what was not sent.

    Raises:
        Mistake: a logger of the settings cannot work.
    """
    for name in settings["logger"] or ():
        if name == TENSORBOARD:
            continue
        if not is_installed(name):
            raise Mistake(
                f"logger={name}: the package {name} is not installed; type  pip install -e '{ROOT}[{name}]'  or leave "
                "logger out, for TensorBoard"
            )
        if name == "wandb":
            refuse_wandb_without_key()
        if name == "mlflow":
            refuse_mlflow_address(os.environ.get("MLFLOW_TRACKING_URI", ""))


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it. A folder `wandb` of earlier runs is none."""
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None


def get_wandb_mode() -> str:
    """Return how W&B works: online, offline (files for `wandb sync` to send later), or disabled."""
    return os.environ.get("WANDB_MODE", "").lower() or "online"


def find_place(name: str) -> str:
    """Return where a logger keeps its runs: W&B's mode, server, team and project, or MLflow's store and experiment."""
    if name == "wandb":
        words = [get_wandb_mode(), *(os.environ.get(f"WANDB_{key}", "") for key in ("BASE_URL", "ENTITY", "PROJECT"))]
    else:
        store = os.environ.get("MLFLOW_TRACKING_URI", "")
        is_path = "://" not in store
        is_relative = re.match(r"sqlite:///(?!/)", store) or (is_path and store.removeprefix("file:")[:1] != "/")
        is_relative = is_relative and not store.startswith("databricks")
        words = [f"{store} in {Path.cwd()}" if is_relative else store, os.environ.get("MLFLOW_EXPERIMENT_NAME", "")]
    return mask_passwords(" ".join(filter(None, words)))


def refuse_wandb_without_key() -> None:
    """Refuse W&B online if it would ask for a key, which nobody answers while a run trains.

    Raises:
        Mistake: there is no key, or WANDB_MODE is not one of WANDB_MODES.
    """
    mode = get_wandb_mode()
    if mode not in WANDB_MODES:
        raise Mistake(f"logger=wandb: WANDB_MODE={mode} is not one of {', '.join(WANDB_MODES)}; set it to one of them")
    keys = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")
    if mode == "online" and not any(os.environ.get(key) for key in keys) and not has_wandb_login():
        raise Mistake(
            "logger=wandb: W&B has no key here; type  wandb login  once, or set WANDB_API_KEY, or WANDB_MODE=offline "
            "to keep everything on this machine and send it later"
        )


def has_wandb_login() -> bool:
    """Return whether `wandb login` has left a key for W&B's server, in ~/.netrc or the file that NETRC names."""
    named = os.environ.get("NETRC")
    for path in [named] if named else ["~/.netrc", "~/_netrc"]:
        try:
            if netrc.netrc(os.path.expanduser(path)).authenticators(find_wandb_server()):
                return True
        except (OSError, UnicodeDecodeError, netrc.NetrcParseError):
            continue
    return False


def find_wandb_server() -> str:
    """Return the name of W&B's server, with its port if it has one: `api.wandb.ai`.

    Raises:
        Mistake: its address is no URL.
    """
    address = os.environ.get("WANDB_BASE_URL")
    if not address:
        saved = configparser.ConfigParser(interpolation=None)
        with suppress(configparser.Error, UnicodeDecodeError):
            saved.read(Path(os.environ.get("WANDB_CONFIG_DIR", WANDB_CONFIG_DIR)).expanduser() / "settings")
        address = saved.get("default", "base_url", fallback="https://api.wandb.ai")
    try:
        return urlparse(address).netloc
    except ValueError as error:
        raise Mistake(
            f"logger=wandb: {mask_passwords(address)}, the address of W&B's server, is no URL ({error}); correct it"
        ) from error


def refuse_mlflow_address(address: str) -> None:
    """Refuse `127.0.0.1:5000` in MLFLOW_TRACKING_URI: MLflow would take it for the name of a folder.

    Raises:
        Mistake: the address lacks its http://.
    """
    if re.fullmatch(r"[\w.-]+:\d+/?", address):
        raise Mistake(
            f"logger=mlflow: MLFLOW_TRACKING_URI={mask_passwords(address)} is no URL; set it to http://{address} or "
            "sqlite:////<file> for a store on this machine"
        )
