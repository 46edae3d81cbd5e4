"""A node of the cluster: containerd and kubelet in the test VM."""
import json
import os
import shutil
import subprocess

import control_plane
from support import check, free_port

HERE = os.path.dirname(os.path.realpath(__file__))
PAUSE = "registry.k8s.io/pause:3.10.1"
CONTAINERD = f"""version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = '{PAUSE}'
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ['/usr/lib/cni']
conf_dir = '%s'
"""
NETWORK = {"cniVersion": "1.0.0", "name": "pods", "plugins": [
    {"type": "ptp", "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]],
                             "routes": [{"dst": "0.0.0.0/0"}]}}]}


def kubelet_configuration(port):
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "address": "0.0.0.0", "port": port, "healthzPort": 0,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs", "enforceNodeAllocatable": [], "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        # Emulated, a start takes its time.
        "runtimeRequestTimeout": "10m",
    }


class Node:
    """Its files are in `directory`, which the VM writes to."""

    def __init__(self, root, tools, plane, directory):
        self.root, self.tools, self.plane, self.directory = root, tools, plane, directory
        self.process, self.port = None, free_port()

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)

    def start(self):
        os.mkdir(self.path("network"))
        self.write("network/pods.conflist", json.dumps(NETWORK))
        self.write("containerd.toml", CONTAINERD % self.path("network"))
        self.write("kubelet.yaml", json.dumps(kubelet_configuration(self.port)))
        shutil.copy(self.plane.path("kubelet.kubeconfig"), self.directory)
        shutil.copy(self.plane.path("certificates/apiserver.crt"), self.directory)
        tools = [self.tools[name] for name in ("containerd", "containerd-shim-runc-v2", "ctr", "kubelet")]
        command = ["--memory", "4096", "--disk", "12G", "--timeout", "5400", "--share", self.directory, "--forward",
                   str(self.port), "--", f"{HERE}/node", self.directory, *tools,
                   f"{control_plane.API_IN_PODS}:443", f"10.0.2.2:{self.plane.port}"]
        with open(self.path("vm.log"), "ab") as log:
            # It ends with this script, also when that is killed; and its VM with it.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", f"{self.root}/tests/vm/run", *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the VM ended with status {self.process.returncode}")
        conditions = self.plane.get("node", control_plane.NODE)["status"]["conditions"]
        statuses = [condition["status"] for condition in conditions if condition["type"] == "Ready"]
        check(statuses == ["True"], "the node is not ready")

    def logs(self):
        return [self.path(name) for name in ("vm.log", "containerd.log", "kubelet.log", "forward.log")]

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None
