"""A Ray cluster of this machine with several nodes, run as a process: it obeys lines on stdin."""

import sys

from ray.cluster_utils import Cluster


def serve():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = []
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=1))
        elif line.strip() == "remove":
            cluster.remove_node(nodes.pop(0))
        sys.stdout.write("done\n")
        sys.stdout.flush()
    cluster.shutdown()


if __name__ == "__main__":
    serve()
