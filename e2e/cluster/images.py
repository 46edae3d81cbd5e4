"""Container images without a container builder: one layer each, as archives that `ctr images import` takes."""
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What the driver runs; and of Debian and its cryptsetup-bin, in the image of deploy/image/Dockerfile as
# well, what the test runs in the driver's container.
PROGRAMS = ["mkfs.ext4", "e2fsck", "mkfs.xfs", "xfs_repair", "mkfs.btrfs", "btrfs",
            "cryptsetup", "dmsetup", "sh", "cat", "grep", "ls", "sha256sum", "tr"]
ACCOUNTS = {"etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\ndisk:x:6:\n",
            "etc/hosts": "127.0.0.1 localhost\n", "etc/nsswitch.conf": "passwd: files\ngroup: files\n"}


class Layer:
    """A tar archive of root's files."""

    def __init__(self):
        self.buffer, self.names = io.BytesIO(), set()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w")

    def add(self, name, type_, data=b"", mode=0o755, target=""):
        if name in self.names:
            return
        self.names.add(name)
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mode, info.linkname = type_, len(data), mode, target
        self.tar.addfile(info, io.BytesIO(data))

    def directory(self, name, mode=0o755):
        if name and name not in self.names:
            self.directory(os.path.dirname(name))
            self.add(name, tarfile.DIRTYPE, mode=mode)

    def file(self, name, data, mode=0o755):
        self.directory(os.path.dirname(name))
        self.add(name, tarfile.REGTYPE, data, mode)

    def link(self, name, target):
        self.directory(os.path.dirname(name))
        self.add(name, tarfile.SYMTYPE, target=target)

    def copy(self, source, name=None):
        """Under its own path: what is linked on the host is a file here, beneath /usr."""
        name = (name or source).lstrip("/")
        if re.match("(bin|sbin|lib|lib64)/", name):
            name = "usr/" + name
        with open(source, "rb") as file:
            self.file(name, file.read())

    def base(self):
        for name in ("bin", "sbin", "lib", "lib64"):
            self.directory(f"usr/{name}")
            self.link(name, f"usr/{name}")
        for name in ("dev", "proc", "sys", "run", "root", "var/lib"):
            self.directory(name)
        self.directory("tmp", 0o1777)
        for name, text in ACCOUNTS.items():
            self.file(name, text.encode(), 0o644)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def libraries(program):
    """Paths, the loader's among them."""
    found = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if "not found" in found.stdout:
        raise AssertionError(f"{program} does not find its libraries:\n{found.stdout}")
    return re.findall(r"(/\S+) \(0x", found.stdout)


def driver_layer(binaries, work):
    """What deploy/image/Dockerfile makes, as far as this test uses it; from this machine's packages."""
    layer = Layer()
    layer.base()
    wanted = set()
    for name in ("cryptvol-csi", "cryptvol-worker", "cryptsnap"):
        stripped = os.path.join(work, name)
        subprocess.run(["strip", "-o", stripped, os.path.join(binaries, name)], check=True)
        layer.copy(stripped, f"usr/local/bin/{name}")
        wanted.update(libraries(stripped))
        os.remove(stripped)
    for name in PROGRAMS:
        program = shutil.which(name, path=PATH)
        if program is None:
            raise AssertionError(f"there is no {name} here: .ci/install-deps")
        layer.copy(program)
        wanted.update(libraries(program))
    for library in sorted(wanted):
        layer.copy(library)
    for name in ("/etc/mke2fs.conf", "/etc/ssl/openssl.cnf"):
        layer.copy(name)
    return layer.bytes()


def provisioner_layer(program):
    layer = Layer()
    layer.copy(program, "csi-provisioner")
    return layer.bytes()


def busybox_layer():
    layer = Layer()
    layer.base()
    busybox = shutil.which("busybox", path=PATH)
    layer.copy(busybox, "usr/bin/busybox")
    for name in subprocess.run([busybox, "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout.split():
        layer.link(f"usr/bin/{name}", "busybox")
    return layer.bytes()


def write_archive(path, layer, tags, entrypoint=(), command=(), variables=()):
    config = json.dumps({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": [f"PATH={PATH}", *variables], "Entrypoint": list(entrypoint), "Cmd": list(command)},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }).encode()
    manifest = json.dumps([{"Config": "config.json", "RepoTags": list(tags), "Layers": ["layer.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in (("manifest.json", manifest), ("config.json", config), ("layer.tar", layer)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_all(directory, work, binaries, provisioner, names):
    """`names` of the images: "driver", "provisioner", "workload", "pause"."""
    write_archive(f"{directory}/driver.tar", driver_layer(binaries, work), [names["driver"]],
                  ["/usr/local/bin/cryptvol-csi"], variables=["DM_DISABLE_UDEV=1"])
    write_archive(f"{directory}/provisioner.tar", provisioner_layer(provisioner), [names["provisioner"]],
                  ["/csi-provisioner"])
    busybox = busybox_layer()
    write_archive(f"{directory}/workload.tar", busybox, [names["workload"]], command=["sh"])
    write_archive(f"{directory}/pause.tar", busybox, [names["pause"]], ["/bin/busybox", "sleep", "infinity"])
