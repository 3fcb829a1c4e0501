"""haproxy before a SeaweedFS: one port for each thing that goes wrong between client and server."""
import collections, pathlib, socket

from process import Process, free_ports
from server.debian import installed
from server.seaweedfs import SeaweedFS

SLOW_DOWN = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
THROTTLED = f"status 503 content-type application/xml string '{SLOW_DOWN}'"
EXPIRED_TOKEN = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
EXPIRED = f"status 400 content-type application/xml string '{EXPIRED_TOKEN}'"
TAKEN = """status 200 hdr ETag '"d41d8cd98f00b204e9800998ecf8427e"'"""

# What each port does to requests that concern an object (`of_object`): those before the job, of STS and of
# buckets, are few, and each is tried three times at most.
FAULTS = {
    # Twenty requests in a quarter of a second are answered, the rest is told to slow down.
    "rate": f"""
        stick-table type ip size 1k expire 10s store http_req_rate(250ms)
        http-request return {THROTTLED} if of_object {{ src,table_http_req_rate(rate) gt 20 }}
        http-request track-sc0 src if of_object""",
    "share": f"""
        http-request return {THROTTLED} if of_object {{ rand(100) lt 30 }}""",
    # Closed without an answer before the server has seen the request.
    "reset": """
        http-request reject if of_object { rand(100) lt 15 }""",
    # Closed without an answer after the server has carried the request out; all but CreateMultipartUpload.
    "lost": """
        http-request set-var(txn.lost) rand(100) if of_object !create
        tcp-response content reject if { var(txn.lost) -m int lt 15 }""",
    # The same, the first time that an upload of a key is created.
    "lost-create": """
        stick-table type string len 256 size 10k expire 10m store http_req_cnt
        http-request track-sc0 path if create
        http-request set-var(txn.lost) int(1) if create { sc_http_req_cnt(0) eq 1 }
        tcp-response content reject if { var(txn.lost) -m int eq 1 }""",
    # Closed in the middle of a long answer.
    "torn": """
        filter lua.torn""",
    # The client is never told that its connection is gone.
    "silent": """
        http-request silent-drop if of_object { rand(100) lt 10 }""",
    # Answered after 1.2 s.
    "slow": """
        http-request lua.wait if of_object !create { rand(100) lt 10 }""",
    # Each session is good for 100 requests, then it has expired, in S3's own words.
    "expired": f"""
        stick-table type string len 40 size 1k expire 10m store http_req_cnt
        http-request track-sc0 req.hdr(x-amz-security-token),sha1,hex if of_object
        http-request return {EXPIRED} if of_object {{ sc_http_req_cnt(0) gt 100 }}""",
    # A PUT whose condition is not met is answered as by a store that does not look at it.
    "no-if-none-match": f"""
        http-request set-var(txn.condition) req.hdr(if-none-match) if METH_PUT
        http-response return {TAKEN} if {{ status 412 }} {{ var(txn.condition) -m found }}""",
    "no-if-match": f"""
        http-request set-var(txn.condition) req.hdr(if-match) if METH_PUT
        http-response return {TAKEN} if {{ status 412 }} {{ var(txn.condition) -m found }}""",
    # Connections are closed as soon as they are idle.
    "idle": """
        timeout http-keep-alive 1ms""",
    # Connections are closed when they were idle for nearly half a second.
    "idle-soon": """
        timeout http-keep-alive 475ms""",
}
LUA = """
core.register_action('wait', {'http-req'}, function(txn) core.msleep(1200) end)

local Torn = {id = 'torn', flags = filter.FLT_CFG_FL_HTX}
Torn.__index = Torn
function Torn:new() return setmetatable({passed = 0, torn = math.random(100) <= 25}, Torn) end
function Torn:start_analyze(txn, channel)
    if channel:is_resp() then filter.register_data_filter(self, channel) end
end
function Torn:http_payload(txn, message)
    self.passed = self.passed + message:input()
    if self.torn and self.passed > 100000 then error('torn') end
end
core.register_filter('torn', Torn, function(filter, arguments) return filter end)
"""


class Haproxy:
    name, version = "haproxy", "2.6"
    process = None

    def __init__(self):
        self.store = SeaweedFS()
        for member in ("source_admin", "destination_admin", "operator", "role_principal"):
            setattr(self, member, getattr(self.store, member))

    def start(self, folder):
        program = installed("haproxy", "haproxy")
        folder = pathlib.Path(folder)
        self.store.start(folder / "seaweedfs")
        self.endpoint = self.store.endpoint
        self.ports = dict(zip(FAULTS, free_ports(len(FAULTS))))
        (folder / "faults.lua").write_text(LUA)
        (folder / "haproxy.cfg").write_text(configuration(folder, self.ports, self.endpoint))
        self.process = Process([program, "-db", "-f", folder / "haproxy.cfg"], folder / "haproxy.log")
        self.process.wait_for(lambda: all(listens(port) for port in self.ports.values()))

    def stop(self):
        if self.process:
            self.process.stop()
        self.store.stop()

    def through(self, fault):
        """The endpoint behind which this goes wrong."""
        return f"http://127.0.0.1:{self.ports[fault]}"

    def seen(self, fault):
        """What haproxy's log says of each request of a port. `ended` begins with P where haproxy itself cut it off."""
        lines = (line.split() for line in self.process.log.read_text().splitlines())
        return [Seen(*line[1:]) for line in lines if line[:1] == [f"seen:{fault}"]]


Seen = collections.namedtuple("Seen", "client_port status ended active_ms method path")


def configuration(folder, ports, endpoint):
    server = endpoint.removeprefix("http://")
    text = f"""
global
    maxconn 4096
    log stdout format raw local0
    lua-load {folder}/faults.lua
defaults
    mode http
    log global
    log-format "seen:%ft %cp %ST %ts %Ta %HM %HP"
    timeout connect 5s
    timeout client 60s
    timeout server 60s
"""
    for fault, rules in FAULTS.items():
        text += f"""
listen {fault}
    bind 127.0.0.1:{ports[fault]}
    acl of_object path_reg ^/[^/]+/.
    acl create query -m str uploads{rules}
    server store {server}
"""
    return text


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
