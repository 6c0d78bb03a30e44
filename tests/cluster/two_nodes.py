"""A Ray cluster of two light nodes on this machine, until standard input ends.

Prints its address, and with the word `dashboard` that of its dashboard.

The head has one CPU, the node two, and nothing of this suite is on their path: the code has to travel.
"""

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    head = {"num_cpus": 1, "include_dashboard": "dashboard" in sys.argv[1:], "dashboard_agent_listen_port": 0}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=2)
    print(cluster.address, cluster.head_node.webui_url or "none", flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
