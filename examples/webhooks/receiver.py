"""What a customer runs: `python receiver.py 8000`. It prints each event whose signature is right."""

import hmac
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from webhooks import signature

TOLERANCE_SECONDS = 300


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        event_id, sent_at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
        is_ours = hmac.compare_digest(self.headers["webhook-signature"], signature(event_id, sent_at, body))
        is_fresh = abs(time.time() - int(sent_at)) < TOLERANCE_SECONDS
        self.send_response(204 if is_ours and is_fresh else 401)
        self.end_headers()
        if is_ours and is_fresh:
            print("received", body, flush=True)  # noqa: T201 - all that this example does


if __name__ == "__main__":
    server = ThreadingHTTPServer(("localhost", int(sys.argv[1])), Receiver)
    print("listening on port", server.server_port, flush=True)  # noqa: T201 - 0 asks for a free one
    server.serve_forever()
