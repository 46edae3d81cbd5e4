"""etcd, kube-apiserver, kube-controller-manager, kube-scheduler, on the loopback."""
import json
import os
import secrets
import signal
import subprocess

from support import check, free_port, run, settle

SERVICES = "10.96.0.0/16"
API_IN_PODS = "10.96.0.1"  # the first of them
NODE = "localhost"  # kube-apiserver dials the kubelet by the node's name
USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
}


class ControlPlane:
    """In `directory`, which has to be root's alone: the tokens lie there."""

    def __init__(self, tools, directory):
        self.tools, self.directory, self.processes = tools, directory, []
        self.port, self.etcd_url = free_port(), f"http://127.0.0.1:{free_port()}"
        self.tokens = {name: secrets.token_hex(16) for name in USERS}

    def path(self, name):
        return os.path.join(self.directory, name)

    def start(self):
        self.write_credentials()
        self.launch("etcd", "--data-dir", self.path("etcd"), "--listen-client-urls", self.etcd_url,
                    "--advertise-client-urls", self.etcd_url, "--listen-peer-urls",
                    f"http://127.0.0.1:{free_port()}", "--log-level", "error")
        self.launch_apiserver()
        settle(self.is_ready, pause=0.5)
        self.launch("kube-controller-manager", f"--kubeconfig={self.path('controller-manager.kubeconfig')}",
                    f"--service-account-private-key-file={self.path('accounts.key')}",
                    f"--root-ca-file={self.path('certificates/apiserver.crt')}", "--leader-elect=false",
                    "--use-service-account-credentials", "--secure-port=0")
        self.launch("kube-scheduler", f"--kubeconfig={self.path('scheduler.kubeconfig')}", "--leader-elect=false",
                    "--secure-port=0")
        # Before it exists, no pod is admitted.
        settle(lambda: self.kubectl("get", "serviceaccount", "default"))

    def launch_apiserver(self):
        key = self.path("accounts.key")
        self.launch("kube-apiserver", f"--etcd-servers={self.etcd_url}", f"--service-cluster-ip-range={SERVICES}",
                    f"--cert-dir={self.path('certificates')}", "--service-account-issuer=https://kubernetes",
                    f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
                    f"--token-auth-file={self.path('tokens')}", "--authorization-mode=Node,RBAC",
                    "--enable-admission-plugins=NodeRestriction", "--allow-privileged", "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1", f"--secure-port={self.port}",
                    "--endpoint-reconciler-type=none", "--kubelet-preferred-address-types=Hostname")

    def write_credentials(self):
        run("openssl", "genrsa", "-out", self.path("accounts.key"), "2048")
        with open(self.path("tokens"), "w") as file:
            for name, (user, groups) in USERS.items():
                file.write(f'{self.tokens[name]},{user},{name},"{groups}"\n')
        for name in USERS:
            address = "10.0.2.2" if name == "kubelet" else "127.0.0.1"
            self.write_kubeconfig(name, f"https://{address}:{self.port}")

    def write_kubeconfig(self, name, server):
        """JSON is YAML. kube-apiserver makes its certificate at its start."""
        cluster = {"server": server, "tls-server-name": "kubernetes.default.svc",
                   "certificate-authority": "apiserver.crt" if name == "kubelet" else
                   self.path("certificates/apiserver.crt")}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "it",
                  "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
                  "clusters": [{"name": "it", "cluster": cluster}],
                  "users": [{"name": "it", "user": {"token": self.tokens[name]}}]}
        with open(self.path(f"{name}.kubeconfig"), "w") as file:
            json.dump(config, file)

    def launch(self, name, *flags):
        with open(self.path(f"{name}.log"), "ab") as log:
            # It ends with this script, also when that is killed.
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", self.tools[name], *flags],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append((name, process))

    def is_ready(self):
        for name, process in self.processes:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with status {process.returncode}")
        check(self.kubectl("get", "--raw", "/readyz") == "ok", "kube-apiserver is not ready")

    def kubectl(self, *arguments, **options):
        """As the cluster's administrator."""
        environment = {"PATH": os.environ["PATH"], "HOME": self.directory,
                       "KUBECONFIG": self.path("admin.kubeconfig")}
        return run(self.tools["kubectl"], *arguments, env=environment, **options)

    def get(self, *arguments):
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def logs(self):
        return [self.path(f"{name}.log") for name, _ in self.processes]

    def stop(self):
        for _, process in reversed(self.processes):
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.processes = []
