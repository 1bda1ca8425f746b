"""A loopback server with BossDB's protocol and programmable faults."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import blosc
import numpy as np

HTML = b"<!doctype html><html><body><h1>Sorry</h1></body></html>"


@dataclass(frozen=True)
class Fault:
    """A fault returned instead of an answer.

    Parameters
    ----------
    status : int, optional
        HTTP status of an error answer.
    code : int
        BossDB's own error code, in a JSON body; 0 sends a page of HTML as a proxy would.
    headers : dict
        Additional headers, such as ``Retry-After``.
    manner : str
        ``answer`` (the status), or instead of an answer: ``silent``, ``trickle``, ``reset``,
        ``cut_off``, ``short`` (fewer voxels), ``not_blosc``, ``html`` (with status 200).
    """

    status: int = 200
    code: int = 0
    headers: dict = field(default_factory=dict)
    manner: str = "answer"


class BossServer:
    """One channel, ``bossdb://lab/worm/em``, whose mips are computed from ``data``.

    Parameters
    ----------
    data : ndarray, shape (Z, Y, X)
        Native voxels.
    channel, experiment, frame : dict, optional
        Replace fields of the metadata.
    token : str, optional
        When given, any other token is refused with 401.
    """

    def __init__(self, data, *, channel=None, experiment=None, frame=None, token=None):
        self.data = data
        self.token = token
        self.requests: list[str] = []
        self.faults: deque[Fault] = deque()  # for one request each
        self.always: Fault | None = None  # for all later requests
        self.faulty = re.compile("")  # paths of requests with faults
        self.stop = threading.Event()
        depth, height, width = data.shape
        self.channel = {
            "name": "em",
            "type": "image",
            "datatype": str(data.dtype),
            "downsample_status": "DOWNSAMPLED",
            "storage_type": "spdb",
            "bucket": "",
            "cv_path": "",
            **(channel or {}),
        }
        self.experiment = {
            "name": "worm",
            "coord_frame": "worm_frame",
            "num_hierarchy_levels": 4,
            "hierarchy_method": "anisotropic",
            "time_step_unit": "seconds",
            **(experiment or {}),
        }
        self.frame = {
            "name": "worm_frame",
            "x_start": 0,
            "x_stop": width,
            "y_start": 0,
            "y_stop": height,
            "z_start": 0,
            "z_stop": depth,
            "x_voxel_size": 8,
            "y_voxel_size": 8,
            "z_voxel_size": 30,
            "voxel_unit": "nanometers",
            **(frame or {}),
        }

    def next_fault(self, path: str) -> Fault | None:
        """Return the fault of the next request, if any."""
        if not self.faulty.search(path):
            return None
        return self.faults.popleft() if self.faults else self.always

    def at_mip(self, mip: int) -> np.ndarray:
        """Return the voxels of a mip: every 2**mip-th one."""
        return self.data[tuple(slice(None, None, self.factor(axis, mip)) for axis in "zyx")]

    def factor(self, axis: str, mip: int) -> int:
        """Return the number of native voxels per voxel of a mip along an axis."""
        kept = axis == "z" and self.experiment["hierarchy_method"] == "anisotropic"
        return 1 if kept else 2**mip

    @property
    def cutouts(self) -> list[str]:
        """Paths of the cutouts requested so far."""
        return [path for path in self.requests if path.startswith("/v1/cutout")]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

    def log_message(self, *_):
        pass

    def do_GET(self):
        boss = self.server.boss
        boss.requests.append(self.path)
        if fault := boss.next_fault(self.path):
            self.fail(fault)
        elif boss.token and self.headers["Authorization"] != f"Token {boss.token}":
            self.error(401, 2005, "Invalid token.")
        else:
            self.answer()

    def answer(self):
        boss = self.server.boss
        parts = self.path.split("?")[0].strip("/").split("/")
        match parts:
            case ["v1", "collection", "lab", "experiment", "worm", "channel", "em"]:
                self.json(boss.channel)
            case ["v1", "collection", "lab", "experiment", "worm"]:
                self.json(boss.experiment)
            case ["v1", "coord", "worm_frame"]:
                self.json(boss.frame)
            case ["v1", "cutout", "lab", "worm", "em", mip, x, y, z]:
                self.cutout(int(mip), x, y, z)
            case _:
                self.error(404, 4000, f"{parts[-1]} not found")

    def cutout(self, mip, *xyz):
        boss = self.server.boss
        if mip >= boss.experiment["num_hierarchy_levels"]:
            return self.error(400, 1002, "invalid resolution")
        box = []
        for axis, text in zip("xyz", xyz, strict=True):
            start, stop = map(int, text.split(":"))
            first, end = boss.frame[f"{axis}_start"], boss.frame[f"{axis}_stop"]
            if not first <= start < stop <= end:
                return self.error(400, 1001, f"{axis} range {text} is outside the frame")
            # Like BossDB: bounds are those of the native frame, and voxels outside the mip black.
            offset = -(-first // boss.factor(axis, mip))
            box.insert(0, (start - offset, stop - offset))
        out = np.zeros([stop - start for start, stop in box], boss.data.dtype)
        found = boss.at_mip(mip)[tuple(slice(*part) for part in box)]
        out[tuple(map(slice, found.shape))] = found
        self.send(200, self.compressed(out), "application/blosc")

    @staticmethod
    def compressed(data):
        return blosc.compress(data.tobytes(), typesize=data.dtype.itemsize)

    def fail(self, fault: Fault):
        match fault.manner:
            case "answer" if fault.code:
                self.error(fault.status, fault.code, "the server says no", fault.headers)
            case "answer":
                self.send(fault.status, HTML, "text/html", fault.headers)
            case "html":
                self.send(200, HTML, "text/html")
            case "not_blosc":
                self.send(200, b"these are not the voxels" * 9, "application/blosc")
            case "short":
                self.send(200, self.compressed(np.ones((2, 3, 7), "u1")), "application/blosc")
            case "cut_off":
                self.send(200, b"half of it", "application/blosc", {"Content-Length": "1000"})
                self.close_connection = True
            case "silent":
                self.server.boss.stop.wait(20)
                self.close_connection = True
            case "trickle":
                self.start(200, "application/blosc", {"Content-Length": "100000"})
                while not self.server.boss.stop.wait(0.05):
                    self.wfile.write(b".")
                    self.wfile.flush()
            case "reset":
                # Closing with a zero linger time sends RST instead of FIN.
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True

    def error(self, status, code, message, headers=None):
        self.json({"status": status, "code": code, "message": message}, status, headers)

    def json(self, content, status=200, headers=None):
        self.send(status, json.dumps(content).encode(), "application/json", headers)

    def send(self, status, body, kind, headers=None):
        self.start(status, kind, {"Content-Length": str(len(body)), **(headers or {})})
        self.wfile.write(body)

    def start(self, status, kind, headers):
        self.send_response(status)
        for name, value in {"Content-Type": kind, **headers}.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Ignore errors: the tests close connections on purpose."""


@contextmanager
def serve(boss: BossServer) -> Iterator[str]:
    """Serve on a free port of the loopback interface; yields ``http://127.0.0.1:PORT``."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.boss = boss
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        boss.stop.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def silent_port() -> Iterator[str]:
    """Accept connections on a port that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
