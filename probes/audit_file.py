"""The files that an audit leaves in a run directory; the page of a run shows them."""

from pathlib import Path
from typing import Any

from run_directory.files import check_kind, read_json

AUDIT_JSON, AUDIT_MD = "audit.json", "audit.md"


def read_audit(run: Path) -> dict[str, Any] | None:
    """Return the content of a run's audit.json; None if the run was not audited.

    Raises:
        Mistake: the file is damaged.
    """
    if not (run / AUDIT_JSON).exists():
        return None
    content = read_json(run / AUDIT_JSON, dict)
    check_kind(run / AUDIT_JSON, content.get("answers"), list, "answers")
    return content
