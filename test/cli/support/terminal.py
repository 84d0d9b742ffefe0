"""Runs a command in a real pseudo-terminal, for terminal.ts. What it draws goes to stdout as it is; lines of JSON on stdin
are what is done to it; in the end a line of JSON on file descriptor 3 tells how it ended and how it left the terminal."""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios

rows, columns = int(sys.argv[1]), int(sys.argv[2])


def flags(descriptor):
    local = termios.tcgetattr(descriptor)[3]
    return {"echo": bool(local & termios.ECHO), "canonical": bool(local & termios.ICANON)}


def resize(descriptor, rows, columns):
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


leader, follower = pty.openpty()
resize(leader, rows, columns)
before = flags(follower)
child = os.fork()
if child == 0:
    os.setsid()
    fcntl.ioctl(follower, termios.TIOCSCTTY, 0)
    for descriptor in (0, 1, 2):
        os.dup2(follower, descriptor)
    os.closerange(3, 64)
    os.execvp(sys.argv[3], sys.argv[3:])

sources = [leader, 0]
pending = b""
status = None
while status is None:
    ready, _, _ = select.select(sources, [], [], 0.05)
    if leader in ready:
        try:
            os.write(1, os.read(leader, 65536))
        except OSError:
            sources.remove(leader)
    if 0 in ready:
        chunk = os.read(0, 65536)
        if not chunk:
            os.kill(child, signal.SIGKILL)
            sources.remove(0)
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            what = json.loads(line)
            if "type" in what:
                os.write(leader, what["type"].encode())
            if "resize" in what:
                resize(leader, *what["resize"])
            if "signal" in what:
                os.kill(child, getattr(signal, what["signal"]))
    ended, code = os.waitpid(child, os.WNOHANG)
    if ended == child:
        status = code

while leader in sources and select.select([leader], [], [], 0.1)[0]:
    try:
        os.write(1, os.read(leader, 65536))
    except OSError:
        break
result = {
    "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
    "restored": flags(follower) == before,
}
os.write(3, json.dumps(result).encode() + b"\n")
