"""Passwords are masked, by `mask_passwords`, in everything that the suite writes or prints."""

import re
from typing import Any

MASK = "***"
# user:password@ of a URL. A password may contain @ / : unescaped, so the last @ of the word ends it.
IN_URL = re.compile(r"(?<=://)([^\s:/?#@]*):(\S*)(?=@)")
# In code, where a line may have several URLs and addresses, a password has none of these characters unescaped.
IN_URL_OF_CODE = re.compile(rb"""(?<=://)([^\s:/?#@"'<>,]{0,99}):([^\s:/?#@"'<>,${}]{1,199})(?=@)""")
SECRET_KEY = r"(?:[\w.-]*(?:password|passwd|secret)[\w-]*|(?:[\w.-]*[_.-])?token|[\w.-]*[_-]key)"
ASSIGNED = re.compile(rf"(?<![\w./-])({SECRET_KEY})=([^\s&]+)", re.IGNORECASE)
# password: value of a mapping, in YAML or JSON; a value in quotes may contain anything, a reference has braces.
VALUE = r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\$\{[^{}]*\}|[^\s,{}\[\]])(?:\$\{[^{}]*\}|[^,}\]])*)"""
MAPPED = re.compile(rf"""((?<=[{{,])\s*["']?{SECRET_KEY}["']?\s*:\s*){VALUE}""", re.IGNORECASE)
BY_NAME = re.compile(r"\$\{[\w.]+:\w+\}")  # ${oc.env:NAME} is a reference to a password, and no password


def mask_passwords(value: Any) -> Any:
    """Return text, or plain data that contains text, with *** in place of passwords.

    A password is the second part of `user:password@` in a URL, or the value of a variable or key with a name such as
    PGPASSWORD, WANDB_API_KEY or hf_token, `{hf_token: value}` within a text too. A reference to an environment
    variable, `${oc.env:NAME}`, is not masked.
    """
    if isinstance(value, dict):
        return {
            k: MASK if is_secret(k) and not isinstance(v, bool) and v not in (None, "") else mask_passwords(v)
            for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [mask_word(v) if isinstance(v, str) else mask_passwords(v) for v in value]
    if not isinstance(value, str):
        return value
    text = IN_URL.sub(lambda found: f"{found[1]}:{mask_secret(found[2])}", value)
    text = ASSIGNED.sub(lambda found: f"{found[1]}={mask_secret(found[2])}", text)
    return MAPPED.sub(mask_mapped, text)


def mask_urls(text: bytes) -> bytes:
    """Return text with *** in place of the passwords of URLs; it may be code, whose variables are left alone."""
    return IN_URL_OF_CODE.sub(rb"\1:***", text)


def mask_mapped(found: re.Match) -> str:
    """Return a match of MAPPED with its value masked if it stands within braces; a comma and a colon may be prose."""
    before = found.string[: found.start()]
    return found[1] + mask_secret(found[2]) if before.count("{") > before.count("}") else found[0]


def mask_word(word: str) -> str:
    """Return one word of a command line with passwords masked; in `password=value`, the value may contain spaces."""
    name, _, value = word.partition("=")
    is_password = value and is_secret(name.lstrip("+~-"))
    return f"{name}={mask_secret(value)}" if is_password else mask_passwords(word)


def is_secret(name: Any) -> bool:
    """Return whether a variable or key of this name holds a secret."""
    return re.fullmatch(SECRET_KEY, str(name), re.IGNORECASE) is not None


def mask_secret(secret: str) -> str:
    """Return *** for a secret; a reference to an environment variable is returned unchanged."""
    return secret if BY_NAME.fullmatch(secret) else MASK


def find_password(url: str) -> str:
    """Return the password of a URL; an empty text if it has none."""
    return found[2] if (found := IN_URL.search(url)) else ""


def hide_password(text: str, password: str) -> str:
    """Return text with a known password masked, and each part of it between two @, since a message may quote a part."""
    for part in sorted({password, *password.split("@")}, key=len, reverse=True):
        text = text.replace(part, MASK) if len(part) > 2 else text
    return mask_passwords(text)


def is_masked(value: Any) -> bool:
    """Return whether a password in a saved setting was masked."""
    return isinstance(value, str) and MASK in value
