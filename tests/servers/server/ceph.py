"""Ceph's RADOS gateway on a cluster of one, in memory: ACLs for two owners, odd keys, sessions as short as asked for.

A user is an owner here, and a tenant is the number in a role's ARN. Buckets of another tenant have other names, so
all users are of one. A session belongs to the user who took the role: the operator owns the copies.
"""
import json, os, pathlib, subprocess, uuid

from process import Process, answers, free_ports, until
from server import accounts
from server.accounts import DESTINATION_ACCOUNT as TENANT, Keys
from server.debian import installed

PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")


class Ceph:
    name, version = "ceph", "16.2"
    source_admin = Keys("SOURCEADMIN", "source-admin-secret")
    destination_admin = Keys("DESTINATIONADMIN", "destination-admin-secret")
    operator = Keys("OPERATOR", "operator-secret")
    role_principal = accounts.role_arn(accounts.ROLE)
    # Under a role UploadPartCopy is refused, whatever the source: who may copy in parts is a user.
    operator_principal, operator_id = f"arn:aws:iam::{TENANT}:user/operator", f"{TENANT}$operator"
    operator_arn = operator_principal

    def __init__(self):
        self.processes = []

    def start(self, folder):
        self.folder = pathlib.Path(folder)
        self.programs = {name: installed(name, *PACKAGES) for name in
                         ("radosgw", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "radosgw-admin")}
        runs = self.run("radosgw", "--version")
        if f" version {self.version}." not in runs:
            raise RuntimeError(f"the jobs are for Ceph {self.version}, what is installed is {runs.strip()}")
        for name in ("mon", "osd", "gateway", "log"):
            (self.folder / name).mkdir(parents=True)
        monitor, port = free_ports(2)
        self.endpoint = f"http://127.0.0.1:{port}"
        cluster, store = uuid.uuid4(), uuid.uuid4()
        address = f"[v2:127.0.0.1:{monitor}]"
        (self.folder / "ceph.conf").write_text(configuration(self.folder, cluster, address, port))
        self.run("monmaptool", "--create", "--addv", "a", address, "--fsid", cluster, self.folder / "monmap")
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", self.folder / "monmap")
        self.serve("ceph-mon", "-i", "a")
        self.run("ceph", "osd", "new", store)
        self.run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", store)
        self.run("ceph", "osd", "crush", "add", "osd.0", "1", "root=default", "host=here")
        self.serve("ceph-osd", "-i", "0")
        until(lambda: "1 up" in self.run("ceph", "osd", "stat"), "the OSD to be up")
        self.serve("radosgw", "-n", "client.gateway").wait_for(lambda: answers(self.endpoint))
        for name, keys in (("source", self.source_admin), ("destination", self.destination_admin),
                           ("operator", self.operator)):
            self.administer("user", "create", "--uid", name, "--display-name", name,
                            "--access-key", keys.id, "--secret-key", keys.secret)
        self.role(accounts.ROLE, {})
        self.role(accounts.ROLE_WITH_ID, {"Condition": {"StringEquals": {"sts:ExternalId": accounts.EXTERNAL_ID}}})

    def stop(self):
        for process in reversed(self.processes):
            process.stop()

    def environment(self):
        # Not the configuration of a cluster that this machine may be part of.
        return {**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf"), "CEPH_ARGS": ""}

    def run(self, program, *words):
        """Runs a program to its end, and gives what it says."""
        command = [self.programs[program], *map(str, words)]
        done = subprocess.run(command, env=self.environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr.strip()[-1000:]}")
        return done.stdout

    def serve(self, program, *words):
        process = Process([self.programs[program], "-f", *words], self.folder / f"log/{program}.out",
                          env=self.environment())
        self.processes.append(process)
        return process

    def administer(self, *words):
        return self.run("radosgw-admin", "-n", "client.gateway", *words, "--tenant", TENANT)

    def role(self, name, condition):
        trust = {"Effect": "Allow", "Principal": {"AWS": [self.operator_principal]}, "Action": ["sts:AssumeRole"],
                 **condition}
        self.make_role(name, document(trust), document(
            {"Effect": "Allow", "Action": ["s3:*"], "Resource": accounts.DESTINATIONS}))

    def make_role(self, name, trust, permissions):
        self.administer("role", "create", "--role-name", name, "--assume-role-policy-doc", compact(trust))
        self.administer("role-policy", "put", "--role-name", name, "--policy-name", "own", "--policy-doc", compact(permissions))


def document(statement):
    return {"Version": "2012-10-17", "Statement": [statement]}


def compact(policy):
    # radosgw-admin takes no spaces between words.
    return json.dumps(policy, separators=(",", ":"))


def configuration(folder, cluster, monitor, port):
    # No authentication between the daemons goes only with "crc", which each of them has to be told.
    return f"""
[global]
fsid = {cluster}
mon host = {monitor}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms mon service mode = crc
ms mon cluster mode = crc
ms client mode = crc
ms service mode = crc
ms cluster mode = crc
admin socket =
crash dir = {folder}/log
log file = {folder}/log/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 2000
[mon]
mon data = {folder}/mon
mon data avail crit = 1
mon data avail warn = 2
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
[client.gateway]
ms mon client mode = crc
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/gateway
rgw enable apis = s3, sts, iam, admin
rgw s3 auth use sts = true
rgw sts key = abcdefghijklmnop
rgw sts min session duration = 1
rgw dynamic resharding = false
rgw override bucket index max shards = 2
rgw gc max objs = 4
rgw lc max objs = 2
"""
