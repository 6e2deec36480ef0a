"""A network for one script: mpirun and its ranks listen on all interfaces, so tests give them a loopback alone."""
import fcntl, os, shutil, socket, struct, subprocess, sys


def enter():
    """Starts this script again behind a loopback of its own; returns there with None, or here with why it cannot."""
    if os.environ.get("GRPO_OWN_NETWORK") != "1":
        unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-rn"]
        if not shutil.which("unshare") or subprocess.run(unshare + ["true"], capture_output=True).returncode != 0:
            return "unshare -n is not permitted, and mpirun would listen on the network"
        os.environ["GRPO_OWN_NETWORK"] = "1"
        os.execvp("unshare", unshare + [sys.executable] + sys.argv)
    up, running, set_flags = 0x1, 0x40, 0x8914  # IFF_UP, IFF_RUNNING, SIOCSIFFLAGS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, set_flags, struct.pack("16sh14x", b"lo", up | running))
    return None
