"""The courier's own view of the machine: a root file system that holds what it needs and nothing else.

What runs in the courier comes from the coordinator (the Flower bundle), so it is treated as hostile. The
kernel, not the courier's good will, keeps it from slides, keys and ledger:

- **own file system** (mount namespace, `pivot_root`): only the system's libraries, the Python installation
  (read-only), the courier's folder and the socket's folder exist in it. The hospital's home is not hidden,
  it is absent;
- **own processes** (PID namespace): the agent can't be seen, signalled or traced;
- **own user**: when started by root, an unprivileged user id that owns nothing but the courier's folder; else
  a user namespace without capabilities;
- **no new privileges**: set-uid files give nothing.

Namespaces need root or unprivileged user namespaces; `confine` says what the machine allowed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

_LIBC = ctypes.CDLL(None, use_errno=True)
NEWNET = 0x4000_0000
_NEWNS, _NEWUSER, _NEWPID, _NEWIPC = 0x0002_0000, 0x1000_0000, 0x2000_0000, 0x0800_0000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_ETC_NETWORK = ("ssl", "pki", "ca-certificates", "resolv.conf", "hosts", "nsswitch.conf")
_ETC_SYSTEM = ("passwd", "group", "localtime", "ld.so.cache", "ld.so.conf", "ld.so.conf.d")
_DEVICES = ("null", "zero", "random", "urandom")


GRACE_SECONDS = 5  # for a process that is told to end

Say = Callable[[str], None]


@dataclass(frozen=True)
class View:
    """What the confined process may see: `read` folders read-only, `write` folders as they are.

    `user` is the user and group id to become when started by root; None keeps the present user.
    """

    read: tuple[Path, ...]
    write: tuple[Path, ...]
    user: int | None


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    arguments = [text.encode() if text is not None else None for text in (source, target, kind)]
    _check(_LIBC.mount(*arguments, flags, data.encode() if data else None), f"mount {target}")


def enter_user_namespace(flags: int) -> None:
    """Enter new namespaces as a plain user: a user namespace that maps this user to itself, and `flags`."""
    user, group = os.getuid(), os.getgid()
    _check(_LIBC.unshare(_NEWUSER | flags), "unshare")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def unshare(flags: int) -> None:
    """Enter new namespaces `flags`, as root directly, else through a user namespace. Raises OSError."""
    if os.geteuid() == 0:
        _check(_LIBC.unshare(flags), "unshare")
    else:
        enter_user_namespace(flags)


def _bind(handle: int, target: Path, read_only: bool) -> None:
    """Bind the open path `handle` on `target`; read-only even for a process that owns the files."""
    source = f"/proc/self/fd/{handle}"
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.isdir(source):
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    _mount(source, str(target), None, _MS_BIND | _MS_REC)
    kept = os.statvfs(target).f_flag & (_MS_NODEV | _MS_NOEXEC)  # a user namespace may not drop these
    flags = _MS_REMOUNT | _MS_BIND | _MS_NOSUID | kept | (_MS_RDONLY if read_only else 0)
    _mount("none", str(target), None, flags)


def _build_root(view: View, root: Path) -> None:
    """Cover `root` with an empty file system and bind the view's paths into it, each at its own place."""
    read = [Path(name) for name in _SYSTEM] + [Path("/etc") / name for name in (*_ETC_NETWORK, *_ETC_SYSTEM)]
    read += view.read
    write = [Path("/dev") / name for name in _DEVICES] + list(view.write)
    links = {path: os.readlink(path) for path in read if str(path) in _SYSTEM and path.is_symlink()}
    wanted = [(path, True) for path in read if path not in links] + [(path, False) for path in write]
    handles = [(path, os.open(path, os.O_PATH), ro) for path, ro in wanted if path.exists()]
    _mount("tmpfs", str(root), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755,size=16m")
    (root / "proc").mkdir()
    for folder in ("tmp", "dev/shm"):
        (root / folder).mkdir(parents=True)
        _mount("tmpfs", str(root / folder), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777,size=256m")
    for path, destination in links.items():
        (root / path.relative_to("/")).symlink_to(destination)
    for path, handle, read_only in handles:
        _bind(handle, root / path.relative_to("/"), read_only)
        os.close(handle)


def _pivot(root: Path) -> None:
    (root / "old").mkdir()
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _check(_LIBC.syscall(number, str(root).encode(), str(root / "old").encode()), "pivot_root")
    os.chdir("/")
    _check(_LIBC.umount2(b"/old", _MNT_DETACH), "umount the old root")
    os.rmdir("/old")
    _mount("none", "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _enter_namespaces(view: View) -> Path:
    """Enter the namespaces and assemble the view; returns where. Children get process ids of their own."""
    unshare(_NEWNS | _NEWPID | _NEWIPC)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    root = Path(tempfile.gettempdir()).resolve()  # covered in this namespace only
    kept = os.umask(
        0o022
    )  # the folders that lead to what may be seen must open for `view.user`, whatever the umask
    try:
        _build_root(view, root)
    finally:
        os.umask(kept)
    return root


def _become(user: int | None) -> None:
    """Give up root for `user` (all capabilities go with it), and every way back."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _check(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _end_with_parent(number: int) -> None:
    _check(_LIBC.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "parent-death signal")


def _wait(child: int, grace: int, told: Callable[[int], None] = lambda number: None) -> int:
    """Wait for `child`; returns its exit status. SIGTERM and SIGINT end it, by force after `grace` seconds.

    Force is needed: the first process of a namespace ignores every signal that it has no handler for.
    """

    def end(number: int, frame: object) -> None:
        told(number)
        try:
            os.kill(child, signal.SIGKILL if number == signal.SIGALRM else signal.SIGTERM)
        except ProcessLookupError:
            raise SystemExit(128 + number) from None  # between two children: nothing to wait for
        signal.alarm(grace)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, end)
    _, status = os.waitpid(child, 0)
    signal.alarm(0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _exec(command: Sequence[str], environment: Mapping[str, str], user: int | None) -> NoReturn:
    _become(user)
    _end_with_parent(signal.SIGKILL)  # after the change of user, which clears it
    os.execvpe(command[0], list(command), dict(environment))  # noqa: S606 - an argument list of our own


def _first_process(
    root: Path, view: View, command: Sequence[str], environment: Mapping[str, str], say: Say
) -> NoReturn:
    """Process 1 of the new process namespace: take the view as its root, then become the command."""
    with contextlib.suppress(OSError):  # some containers forbid a fresh /proc: the command then runs without
        _mount("proc", str(root / "proc"), "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _pivot(root)
    who = f"user {view.user}" if view.user is not None else "no capabilities"
    say(f"own file system, own processes, {who}")
    _exec(command, environment, view.user)


def _confined(view: View, command: Sequence[str], environment: Mapping[str, str], say: Say) -> int:
    """The process between: it enters the namespaces, starts their first process and waits for it."""
    _end_with_parent(signal.SIGTERM)
    try:
        root = _enter_namespaces(view)
    except OSError as error:
        if view.user is None:
            say(f"NOT confined: no namespaces here ({error}); a bundle can read all that this user can")
        else:
            say(f"user {view.user}, file permissions only: no namespaces here ({error})")
        _exec(command, environment, view.user)
    child = os.fork()
    if child == 0:
        _first_process(root, view, command, environment, say)
    return _wait(child, GRACE_SECONDS)


def run(
    view: View,
    command: Sequence[str],
    environment: Mapping[str, str],
    say: Say,
    told: Callable[[int], None] = lambda number: None,
) -> int:
    """Run `command` confined to `view` until it ends; returns its exit status (128 + signal where killed).

    `say` is told what the machine allowed, before the command starts; it is called in another process.
    SIGTERM and SIGINT to this process end the command, and `told` hears of them; it does not outlive this
    process.
    """
    child = os.fork()
    if child == 0:
        status = 127
        try:
            status = _confined(view, command, environment, say)
        except OSError as error:
            say(f"not started: {error}")
        finally:
            os._exit(status)
    return _wait(child, 2 * GRACE_SECONDS, told)
