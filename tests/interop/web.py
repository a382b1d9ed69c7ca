"""A CA's web server in a namespace: lists, OCSP, certificates, a port where nobody answers."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.interop.network import Host
    from tests.interop.pki import Authority


class Web:
    """Serves what an authority publishes; asks it anew for each request.

    Attributes:
        revoked: Names whose certificates are revoked, by the word of OCSP.
        listed: Names whose certificates are on the list.
        authority: The CA.
        requests: What was asked, as method and path.
    """

    def __init__(self, host: Host, address: str, authority: Authority) -> None:
        self.revoked: set[str] = set()
        self.listed: set[str] = set()
        self.requests: list[str] = []
        self.authority = authority
        self._server = ThreadingHTTPServer((address, 80), self._handler(), bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = _listen(host, address, 80)
        # The kernel takes connections, and that is all that ever happens.
        self._silent = _listen(host, address, 81)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._silent.close()
        self._thread.join(5)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                web.requests.append(f"GET {self.path}")
                if self.path.startswith("/certs/"):
                    certificate = web.authority.by_hash(self.path.rpartition("/")[2])
                    self._answer("application/pkix-cert", certificate)
                else:
                    self._answer("application/pkix-crl", web.authority.crl(*web.listed))

            def do_POST(self) -> None:
                web.requests.append(f"POST {self.path}")
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = web.authority.ocsp(body, *web.revoked)
                self._answer("application/ocsp-response", answer)

            def _answer(self, kind: str, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        return Handler


def _listen(host: Host, address: str, port: int) -> socket.socket:
    listener = host.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(16)
    return listener
