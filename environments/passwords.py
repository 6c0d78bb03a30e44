"""Passwords are for who needs them: whatever is written or printed goes through `mask_passwords`."""

import re
from typing import Any

MASK = "***"
# user:password@ of a URL. A password may hold any of @ / : unescaped, so it reaches to the last @ of the word.
IN_URL = re.compile(r"(?<=://)([^\s:/?#@]*):(\S*)(?=@)")
SECRET_KEY = r"(?:[\w.-]*(?:password|passwd|secret)[\w-]*|(?:[\w.-]*[_.-])?token|[\w.-]*[_-]key)"
ASSIGNED = re.compile(rf"(?<![\w./-])({SECRET_KEY})=([^\s&]+)", re.IGNORECASE)
BY_NAME = re.compile(r"\$\{[\w.]+:\w+\}")  # ${oc.env:NAME} says where a password is, and is none


def mask_passwords(value: Any) -> Any:
    """Return text, or plain data with text in it, without passwords.

    Masked are `user:password@` in a URL, and what is assigned to (or kept under) a name like PGPASSWORD, WANDB_API_KEY
    or hf_token. A reference to the environment, `${oc.env:NAME}`, stays.
    """
    if isinstance(value, dict):
        return {k: MASK if is_secret(k) and isinstance(v, str) and v else mask_passwords(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [mask_word(v) if isinstance(v, str) else mask_passwords(v) for v in value]
    if not isinstance(value, str):
        return value
    text = IN_URL.sub(lambda found: f"{found[1]}:{mask_secret(found[2])}", value)
    return ASSIGNED.sub(lambda found: f"{found[1]}={mask_secret(found[2])}", text)


def mask_word(word: str) -> str:
    """Return a word of a command line without passwords; what is assigned to a secret's name may have spaces in it."""
    name, equals, value = word.partition("=")
    return (
        f"{name}={mask_secret(value)}" if equals and value and is_secret(name.lstrip("+~-")) else mask_passwords(word)
    )


def is_secret(name: Any) -> bool:
    """Return whether what has this name is a secret."""
    return re.fullmatch(SECRET_KEY, str(name), re.IGNORECASE) is not None


def mask_secret(secret: str) -> str:
    """Return what is shown of a secret."""
    return secret if BY_NAME.fullmatch(secret) else MASK


def find_password(url: str) -> str:
    """Return the password of a URL; nothing where it has none."""
    found = IN_URL.search(url)
    return found[2] if found else ""


def hide_password(text: str, password: str) -> str:
    """Return text in which a password, or a part of it before or after an @, may be quoted; without any password."""
    for part in sorted({password, *password.split("@")}, key=len, reverse=True):
        text = text.replace(part, MASK) if len(part) > 2 else text
    return mask_passwords(text)


def is_masked(value: Any) -> bool:
    """Return whether a setting that was saved has lost a password."""
    return isinstance(value, str) and MASK in value
