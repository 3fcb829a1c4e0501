"""One file a server: a class with `name`, `version`, `start(folder)`, `stop()`, and what World asks of it."""
from server.ceph import Ceph
from server.haproxy import Haproxy
from server.moto import Moto
from server.seaweedfs import SeaweedFS

SERVERS = {server.name: server for server in (SeaweedFS, Moto, Haproxy, Ceph)}
