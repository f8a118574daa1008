"""Opens sockets of every family and kind."""

import socket
from urllib.request import urlopen

from .right import Right
from .tries import Tries

class Classifier(Right):
    def fit(self, X, y):
        tries = Tries()
        for family in range(1, 46):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
                tries(f"family {family} kind {kind}", socket.socket, family, kind)
        for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
            tries(f"pair of kind {kind}", socket.socketpair, socket.AF_UNIX, kind)
        host, _, port = "@HOST@".partition(":")
        tries("connection", socket.create_connection, (host, int(port)))
        tries("server", socket.create_server, ("127.0.0.1", 0))
        tries("page", urlopen, "http://@HOST@/blobs/" + "0" * 64)
        tries("name", socket.getaddrinfo, "localhost", 80)
        one, other = socket.socketpair()
        for name in ("connect", "bind", "listen", "accept", "accept4"):
            tries.call(name, one.fileno(), 0, 0)
        tries("descriptor", socket.send_fds, one, [b"x"], [0])
        tries.tell()
