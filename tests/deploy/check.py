"""Checks what is below deploy/: scripts/test runs it. What can be rendered, planned or scored is; nothing here runs a
container or a pod. deploy/README.md says what that leaves open."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import Chart
from helm_python.chart import lint

from common import BIN, DEPLOY, ROOT, run, settings, unknown
from terraform import Terraform  # noqa: F401 (it is found here)

CHART = DEPLOY / "helm/strongroom"
# Of Kubernetes: the oldest that Chart.yaml lets in, and the newest that there are schemas of.
VERSIONS = ["1.27", "1.37"]
# The most that `systemd-analyze security` may find, in tenths of its score.
EXPOSURE = 11


def scripts():
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b"#!/usr/bin/env bash"):
            yield path


class Shell(unittest.TestCase):
    @unittest.skipUnless(shutil.which("shellcheck"), "needs shellcheck")
    def test_scripts_are_clean(self):
        found = list(scripts())
        self.assertGreaterEqual(len(found), 2)
        run("shellcheck", *found)


class Overlay(unittest.TestCase):
    """The tunnels themselves are tested in tests/tests/wireguard.rs."""

    def env(self, table, **more):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(table)
            file.flush()
            command = [DEPLOY / "wireguard/overlay", "env", file.name, "node-1"]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | more)

    def setUp(self):
        self.table = (DEPLOY / "wireguard/peers.example").read_text()

    def test_the_example_gives_settings_that_there_are(self):
        done = self.env(self.table)
        self.assertEqual(done.returncode, 0, done.stderr)
        env = dict(line.split("=", 1) for line in done.stdout.splitlines())
        self.assertEqual(unknown(env), set())
        self.assertEqual(env["VAULT_ALLOWED_IPS"], "10.98.0.201,10.98.0.202,10.20.0.0/24")
        # The document shows what is printed.
        document = (ROOT / "WIREGUARD.md").read_text()
        self.assertEqual([line for line in done.stdout.splitlines() if f"# {line}\n" not in document], [])

    def test_tables_that_would_let_somebody_be_somebody_else_are_refused(self):
        self.assertIn("\nweb-1 ", self.table)
        for old, new, why in [
            ("10.98.0.201", "10.98.0.1", "is taken by node-1"),
            ("5BEb", "1BEb", "is taken by node-1"),
            ("10.20.0.0/24", "10.98.0.1/32", "is in the overlay"),
            ("10.20.0.0/24", "10.0.0.0/8", "holds the overlay"),
            ("10.20.0.0/24", "0.0.0.0/0", "holds the overlay"),
            ("10.98.0.201", "10.99.0.201", "is not in the overlay"),
            ("10.98.0.201", "10.98.0.301", "is no IPv4 address"),
            ("\nweb-1 ", "\nnode-1 ", "stands there twice"),
            ("\nweb-1 ", "\nweb;1 ", "a name of letters"),
            ("192.0.2.2:51820", "-", "a node needs an endpoint"),
            ("gateway      client", "gateway      admin", "only a client routes"),
            ("web-1        client", "web-1        root", "a role is"),
        ]:
            with self.subTest(new=new):
                done = self.env(self.table.replace(old, new, 1))
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(why, done.stderr)
                self.assertEqual(done.stdout, "")
        self.assertIn("is not in the overlay", self.env(self.table, OVERLAY_NET="10.97.0.0/24").stderr)


@unittest.skipUnless(shutil.which("systemd-analyze"), "needs systemd")
class Systemd(unittest.TestCase):
    def unit(self, folder):
        """The unit and its drop-ins as they would be installed, with a program that is there."""
        text = (DEPLOY / "systemd/strongroom.service").read_text()
        path = Path(folder) / "strongroom.service"
        path.write_text(text.replace("/usr/local/bin/strongroom", "/bin/true"))
        (Path(folder) / "wg-quick@.service").write_text("[Service]\nExecStart=/bin/true\n")
        drop_ins = Path(folder) / "strongroom.service.d"
        drop_ins.mkdir()
        for drop_in in ["bootstrap-token.conf", "wireguard.conf"]:
            shutil.copy(DEPLOY / "systemd" / drop_in, drop_ins)
        return path

    def test_the_unit_and_its_drop_ins_are_understood(self):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                ["systemd-analyze", "verify", self.unit(folder)],
                capture_output=True, text=True, timeout=60,
            )
            ours = [line for line in done.stderr.splitlines() if "strongroom" in line]
            self.assertEqual((done.returncode, ours), (0, []))

    def test_little_is_exposed(self):
        with tempfile.TemporaryDirectory() as folder:
            out = run(
                "systemd-analyze", "security", "--offline=true", "--no-pager",
                f"--threshold={EXPOSURE}", self.unit(folder),
            )
            print(out.strip().splitlines()[-1], file=sys.stderr)

    def test_the_environment_file_has_settings_that_there_are(self):
        text = (DEPLOY / "systemd/strongroom.env").read_text()
        names = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", text, re.M)
        self.assertIn("VAULT_PEERS", names)
        self.assertEqual(unknown(names), set())
        unit = (DEPLOY / "systemd/strongroom.service").read_text()
        self.assertEqual(unknown(re.findall(r"^Environment=([A-Z_]+)=", unit, re.M)), set())


class Image(unittest.TestCase):
    def setUp(self):
        self.text = (DEPLOY / "image/Dockerfile").read_text()

    def test_the_image_is_a_binary_that_is_not_root(self):
        last = self.text.split("FROM ")[-1]
        self.assertTrue(last.startswith("scratch\n"))
        self.assertRegex(last, r"\nUSER [1-9][0-9]*:[1-9][0-9]*\n")
        self.assertNotRegex(last, r"\n(RUN|ADD) ")
        self.assertEqual(unknown(re.findall(r"([A-Z_]{4,})=", last)), set())

    def test_it_is_built_by_the_compiler_that_the_workspace_asks_for(self):
        wanted = re.search(r'rust-version = "(.+)"', (ROOT / "Cargo.toml").read_text())[1]
        self.assertIn(f"FROM rust:{wanted}-", self.text)

    def test_what_it_is_built_from_is_a_workspace(self):
        """The files that the ignore file lets through are enough for cargo, and what is private is not among them."""
        kept = (DEPLOY / "image/Dockerfile.dockerignore").read_text().split("\n!")[1:]
        with tempfile.TemporaryDirectory() as folder:
            for name in map(str.strip, kept):
                source, target = ROOT / name, Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            run("cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1", cwd=folder)


class Compose(unittest.TestCase):
    def setUp(self):
        out = run(BIN / "docker-compose", "-f", DEPLOY / "compose/compose.yaml", "config", "--format=json")
        self.services = json.loads(out)["services"]

    def test_every_container_is_held_tightly(self):
        for name, service in self.services.items():
            self.assertTrue(service["read_only"], name)
            self.assertEqual(service["cap_drop"], ["ALL"], name)
            self.assertEqual(service["security_opt"], ["no-new-privileges:true"], name)

    def test_three_nodes_with_one_configuration_are_open_to_this_machine_alone(self):
        nodes = {name: s for name, s in self.services.items() if name.startswith("node-")}
        self.assertEqual(len(nodes), 3)
        shared = []
        for service in nodes.values():
            self.assertEqual([port["host_ip"] for port in service["ports"]], ["127.0.0.1"])
            own = dict(service["environment"])
            own.pop("NODE_ID")
            self.assertEqual(unknown(own), set())
            shared.append(own)
        self.assertEqual(shared, [shared[0]] * 3)


class Helm(unittest.TestCase):
    KEY = {"clusterKey": "srck_wrapped"}
    CASES = {
        "three": KEY,
        "one": {"replicas": 1},
        "everything": KEY | {
            "replicas": 5,
            "image": {"digest": "sha256:" + "0" * 64},
            "bootstrapToken": {"secretName": "strongroom-bootstrap"},
            "kms": {"region": "eu-central-1"},
            "allowedIps": ["10.0.0.0/8", "fd00::/8"],
            "settings": {"VAULT_DEK_CACHE_STALE_SECS": "3600"},
            "extraSecrets": [{"setting": "VAULT_LOCAL_MASTER_KEY", "secretName": "local", "key": "key"}],
            "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/r"}},
            "persistence": {"storageClassName": "gp3"},
            "networkPolicy": {"clients": [{"ipBlock": {"cidr": "10.1.0.0/16"}}]},
            "antiAffinity": "preferred",
            "nodeSelector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "secrets", "operator": "Exists"}],
            "priorityClassName": "high",
        },
    }

    def render(self, values):
        with Chart.load(CHART) as chart:
            chart.validate_schema(values)
            files = chart.render(values, name="s", namespace="vault")
        found = [d for text in files.values() for d in yaml.safe_load_all(text) if d]
        return {(d["kind"], d["metadata"]["name"]): d for d in found}

    def test_lint_finds_nothing(self):
        report = lint(CHART, self.KEY, strict=True, kube_version="v1.30.0")
        # Below a warning is advice: to have an icon, for one.
        found = [message for message in report["messages"] if message["severity"] > 1]
        self.assertEqual((found, report["total_charts_linted"]), ([], 1))

    def test_what_is_rendered_is_what_kubernetes_takes(self):
        for case, values in self.CASES.items():
            for found in self.render(values).values():
                for version in VERSIONS:
                    with self.subTest(case=case, version=version):
                        kubernetes_validate.validate(found, version, strict=True)

    def test_a_pod_has_no_rights_that_it_does_not_need(self):
        for case, values in self.CASES.items():
            with self.subTest(case=case):
                pod = self.render(values)["StatefulSet", "s"]["spec"]["template"]["spec"]
                self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
                self.assertFalse(pod["automountServiceAccountToken"])
                own = pod["containers"][0]["securityContext"]
                self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
                self.assertTrue(own["readOnlyRootFilesystem"])
                self.assertFalse(own["allowPrivilegeEscalation"])

    def test_settings_are_known_and_secrets_come_by_file(self):
        for case, values in self.CASES.items():
            with self.subTest(case=case):
                pod = self.render(values)["StatefulSet", "s"]["spec"]["template"]["spec"]
                names = [entry["name"] for entry in pod["containers"][0]["env"]]
                self.assertEqual(unknown(names), set())
                self.assertEqual(len(names), len(set(names)))
                secret = {n.removesuffix("_FILE") for n in settings() if n.endswith("_FILE")}
                # A cluster key is wrapped.
                self.assertEqual(secret & set(names) - {"VAULT_CLUSTER_KEY"}, set())

    def test_nodes_find_each_other_by_names_that_the_headless_service_gives(self):
        found = self.render(self.CASES["everything"])
        stateful, headless = found["StatefulSet", "s"]["spec"], found["Service", "s-nodes"]["spec"]
        self.assertEqual((headless["clusterIP"], headless["publishNotReadyAddresses"]), ("None", True))
        self.assertEqual(stateful["serviceName"], "s-nodes")
        env = {e["name"]: e.get("value") for e in stateful["template"]["spec"]["containers"][0]["env"]}
        peers = [f"s-{n}=s-{n}.s-nodes.vault.svc.cluster.local:8201" for n in range(5)]
        self.assertEqual(env["VAULT_PEERS"], ",".join(peers))
        self.assertEqual(found["PodDisruptionBudget", "s"]["spec"]["maxUnavailable"], 1)

    def test_the_raft_port_is_for_nodes_alone(self):
        found = self.render(self.CASES["everything"])
        policy, labels = found["NetworkPolicy", "s"]["spec"], found["StatefulSet", "s"]["spec"]["selector"]
        self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])
        raft = [rule for rule in policy["ingress"] if {"port": "raft", "protocol": "TCP"} in rule["ports"]]
        self.assertEqual([rule["from"] for rule in raft], [[{"podSelector": labels}]])
        self.assertTrue(all(rule.get("ports") and rule.get("from") for rule in policy["ingress"]))

    def test_values_that_make_no_sense_are_refused(self):
        for values in [
            {"replicas": 3},
            self.KEY | {"replicas": 2},
            self.KEY | {"replica": 3},
            self.KEY | {"settings": {"VAULT_BOOTSTRAP_TOKEN": "in the clear in values"}},
            self.KEY | {"image": {"digest": "latest"}},
        ]:
            with self.subTest(values=values), self.assertRaises(Exception):
                self.render(values)


def main():
    result = unittest.main(verbosity=2, exit=False).result
    why = [reason for _, reason in result.skipped]
    print(f"deploy: {result.testsRun - len(why)} checks run, {len(why)} skipped {' '.join(f'({r})' for r in why)}")
    # No package brings terraform: where it is missing, its files are parsed and its rights compared all the same.
    missing = [reason for reason in why if "terraform" not in reason]
    return 1 if not result.wasSuccessful() or (missing and os.environ.get("NO_SKIPS")) else 0


if __name__ == "__main__":
    sys.exit(main())
