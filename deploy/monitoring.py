"""A row "RLlib" in the Metrics tab of Ray's dashboard: `make monitoring`, on the head, after `ray start --head`.

    loggers/metrics.py -> Ray's metrics agents -> Prometheus -> Grafana, which Ray's dashboard shows

Ray writes its Grafana dashboards again whenever a head starts. This script adds the suite's panels to the dashboard of
the Metrics tab, writes them as a separate dashboard too, and prints the commands that start Prometheus and Grafana. It
may run several times.
"""

import argparse
import json
import os
from pathlib import Path

DASHBOARDS = Path("metrics", "grafana", "dashboards")  # below the folder of a session of Ray
DEFAULT_DASHBOARD = DASHBOARDS / "default_grafana_dashboard.json"
FIRST_ID = 9000  # the lowest id of the suite's panels; Ray's panels have lower ids
PANELS = (
    # title; query to Prometheus, with {} for the session; unit
    ("Mean score of the last 100 full games", "ray_rl_episode_return_mean{}", "short"),
    ("Agent steps per second", "ray_rl_agent_steps_per_s{}", "short"),
    ("Share of the time that the learner learns", "ray_rl_learner_busy{}", "percentunit"),
    ("Share of the time that the learner waits for rollouts", "1 - ray_rl_learner_busy{}", "percentunit"),
    ("Agent steps", "ray_rl_agent_steps_total{}", "short"),
    ("Full games per minute", "60 * rate(ray_rl_episodes_total{}[1m])", "short"),
    ("Entropy of the policy", "ray_rl_entropy{}", "short"),
    ("Value loss", "ray_rl_value_loss{}", "short"),
    ("Explained variance of the values", "ray_rl_explained_variance{}", "percentunit"),
    ("Norm of the gradient", "ray_rl_grad_norm{}", "short"),
    ("Staleness: updates between acting and learning", "ray_rl_staleness{}", "short"),
)


def list_expressions() -> list[str]:
    """Return the query of each panel to Prometheus."""
    return [query.replace("{}", '{SessionName=~"$SessionName"}') for _, query, _ in PANELS]


def make_panels(top: int) -> list[dict]:
    """Return a row and its panels, two side by side, for a dashboard; `top` is the height at which the row begins."""
    row = {"id": FIRST_ID, "type": "row", "title": "RLlib", "collapsed": False, "panels": []}
    found = [row | {"gridPos": {"h": 1, "w": 24, "x": 0, "y": top}}]
    for i, ((title, _, unit), expr) in enumerate(zip(PANELS, list_expressions(), strict=True)):
        found.append(
            {
                "id": FIRST_ID + 1 + i,
                "type": "timeseries",
                "title": title,
                "datasource": "${datasource}",
                "gridPos": {"h": 8, "w": 12, "x": 12 * (i % 2), "y": top + 1 + 8 * (i // 2)},
                "fieldConfig": {"defaults": {"unit": unit, "custom": {"showPoints": "never"}}, "overrides": []},
                "targets": [{"refId": "A", "expr": expr, "legendFormat": "{{algo}} {{env}} {{run}} seed {{seed}}"}],
            }
        )
    return found


def add_row(dashboard: dict) -> dict:
    """Return Ray's dashboard with the suite's row above Ray's panels; a row that is there already is replaced."""
    theirs = [panel for panel in dashboard["panels"] if panel["id"] < FIRST_ID]
    ours = make_panels(0)
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in ours)
    lowest = min(panel["gridPos"]["y"] for panel in theirs)
    moved = [p | {"gridPos": p["gridPos"] | {"y": p["gridPos"]["y"] - lowest + height}} for p in theirs]
    return dashboard | {"panels": [*ours, *moved]}


def make_own_dashboard(dashboard: dict) -> dict:
    """Return the suite's panels as a separate dashboard, with the variables of Ray's dashboard."""
    return dashboard | {"panels": make_panels(0), "title": "RLlib runs", "uid": "rllibRuns", "rayMeta": []}


def find_session() -> Path:
    """Return the newest session of Ray on this machine that has dashboards, where Ray keeps its sessions.

    A run with a Ray of its own makes a session too, mostly without dashboards, and then session_latest is that one.
    """
    ray = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray")
    sessions = [ray / "session_latest", *sorted(ray.glob("session_2*"), reverse=True)]
    return next((session.resolve() for session in sessions if (session / DEFAULT_DASHBOARD).is_file()), sessions[0])


def install_dashboards(session: Path) -> str:
    """Write both dashboards into a session of Ray.

    Returns:
        The commands to type next, as text.

    Raises:
        SystemExit: the session has no dashboards, or they cannot be written.
    """
    path = session / DEFAULT_DASHBOARD
    if not path.is_file():
        raise SystemExit(f"{path} is not there: start Ray on this machine first, ray start --head")
    dashboard = json.loads(path.read_text())
    try:
        write_dashboard(path.with_name("rllib_runs.json"), make_own_dashboard(dashboard))
        write_dashboard(path, add_row(dashboard))
    except OSError as error:
        why = f"{error.strerror}; free room, or be the user who started Ray"
        raise SystemExit(f"{path} cannot be written: {why}") from error
    metrics = session / "metrics"
    return f"""row "RLlib" is in {path}
next
  systemctl disable --now prometheus     (where Debian's own Prometheus runs, which takes the port)
  apt-get install grafana      (from its own repository, apt.grafana.com; Prometheus is Debian's)
  prometheus --config.file={metrics}/prometheus/prometheus.yml --web.listen-address=127.0.0.1:9090
  grafana server --homepath /usr/share/grafana --config {metrics}/grafana/grafana.ini
and Ray's dashboard shows both under Metrics; a browser on another machine needs ssh -L 3000:127.0.0.1:3000 too"""


def write_dashboard(path: Path, dashboard: dict) -> None:
    """Write a dashboard in one piece: on a full disk the old one stays.

    Raises:
        OSError: the file cannot be written.
    """
    new = path.with_suffix(".new")
    try:
        new.write_text(json.dumps(dashboard, indent=1))
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("session", nargs="?", type=Path, help="a session of Ray, /tmp/ray/session_...; else the newest")
    print(install_dashboards(parser.parse_args().session or find_session()))
