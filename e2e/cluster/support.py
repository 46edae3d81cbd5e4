"""Commands, ports, waiting: what all parts of e2e/kubernetes use."""
import random
import socket
import subprocess
import time

SECONDS = 600  # for anything: CI is slow, and its node is emulated
used_ports = set()


def free_port():
    """Below those that the kernel gives to outgoing connections."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in used_ports:
            used_ports.add(port)
            return port


def run(*command, status=0, stdin="", env=None):
    """What it printed. Another status than the wanted one is a failure; None takes any but 0."""
    result = subprocess.run(command, input=stdin, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            errors="backslashreplace", timeout=SECONDS)
    good = result.returncode != 0 if status is None else result.returncode == status
    if not good:
        raise AssertionError(f"{' '.join(command)}: status {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout if result.returncode == 0 else result.stdout + result.stderr


def expect(condition, what):
    if not condition:
        raise AssertionError(f"not so: {what}")
    print(f"   {what}", flush=True)


def settle(step, seconds=SECONDS, pause=1.0):
    """Repeats what cannot succeed at once; returns what it returned in the end."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return step()
        except (AssertionError, ValueError, KeyError, IndexError) as error:
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds} s: {error}") from error
            time.sleep(pause)


def check(condition, what):
    """For what is repeated: silent when it holds."""
    if not condition:
        raise AssertionError(what)
