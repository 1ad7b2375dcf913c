"""deploy/terraform: that it is HCL, grants what the code's calls need, and can be applied, to moto."""

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import hcl2

from common import BIN, DEPLOY, ROOT, run

PLUGINS = Path(os.environ.get("STRONGROOM_TF_PLUGINS", "/opt/tf-plugins"))

# What IAM calls the calls of KMS: ReEncrypt needs one right at each key.
RIGHTS = {
    "generate_data_key": {"kms:GenerateDataKey"},
    "decrypt": {"kms:Decrypt"},
    "re_encrypt": {"kms:ReEncryptFrom", "kms:ReEncryptTo"},
    "list_key_rotations": {"kms:ListKeyRotations"},
}
REWRAP = {"kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:ListKeyRotations"}


def calls_of_kms():
    """The calls that the server makes, and the rights they need. A call that RIGHTS does not know is an error here."""
    text = (ROOT / "crates/server/src/kms/aws.rs").read_text()
    calls = set(re.findall(r"client\s*\.([a-z_]+)\(\)", text))
    return set().union(*(RIGHTS[call] for call in calls))


class Emulator:
    """moto, for terraform."""

    def __enter__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [BIN / "moto_server", "-H", "127.0.0.1", "-p", str(self.port)]
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return f"http://127.0.0.1:{self.port}"
            except OSError:
                time.sleep(0.1)
        raise AssertionError("moto does not answer")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Terraform(unittest.TestCase):
    def test_every_file_is_hcl(self):
        files = list((DEPLOY / "terraform").glob("*.tf"))
        self.assertGreater(len(files), 4)
        for path in files:
            with path.open() as file:
                self.assertTrue(hcl2.load(file), path)

    def test_rights_are_those_of_the_calls(self):
        with (DEPLOY / "terraform/key.tf").open() as file:
            local = [block for block in hcl2.load(file)["locals"] if "seal_actions" in block][0]
        lists = {name: {action.strip('"') for action in local[name]}
                 for name in ["seal_actions", "rewrap_actions", "notice_actions"]}
        self.assertEqual(lists["rewrap_actions"] | lists["notice_actions"], REWRAP)
        self.assertEqual(lists["seal_actions"] | REWRAP, calls_of_kms())
        self.assertFalse(lists["seal_actions"] & REWRAP)

    def test_contexts_are_those_that_the_server_gives(self):
        text = (ROOT / "crates/seal/src/binding.rs").read_text()
        key = (DEPLOY / "terraform/key.tf").read_text()
        purpose = re.search(r'CLUSTER_KEY_PURPOSE: &str = "(.+)"', text)[1]
        self.assertIn(f'values   = ["{purpose}"]', key)
        for name in re.findall(r'\("(name|version|purpose)"', text):
            self.assertIn(f'"kms:EncryptionContext:{name}"', key)

    @unittest.skipUnless(shutil.which("terraform") and PLUGINS.exists(), "needs terraform and its AWS provider")
    def test_it_can_be_applied_and_gives_what_it_says(self):
        with tempfile.TemporaryDirectory() as folder, Emulator() as endpoint:
            for path in (DEPLOY / "terraform").glob("*.tf"):
                shutil.copy(path, folder)
            services = "\n".join(f'    {s} = "{endpoint}"' for s in ["iam", "kms", "s3", "sts"])
            (Path(folder) / "provider.tf").write_text(
                f"""provider "aws" {{
  region            = "eu-central-1"
  access_key        = "test"
  secret_key        = "test"
  s3_use_path_style = true
  endpoints {{
{services}
  }}
}}
""")

            def terraform(*arguments):
                return run("terraform", *arguments, cwd=folder)

            terraform("fmt", "-check", DEPLOY / "terraform")
            terraform("init", "-input=false", f"-plugin-dir={PLUGINS}")
            with_all = ["-var=rewrap=true", "-var=backup_bucket=our-backups",
                        '-var=operator_arns=["arn:aws:iam::123456789012:user/anna"]']
            for variables, wanted in [([], calls_of_kms() - REWRAP), (with_all, calls_of_kms())]:
                terraform("apply", "-auto-approve", "-input=false", *variables)
                out = {name: entry["value"] for name, entry in json.loads(terraform("output", "-json")).items()}
                role, key = out["node_role_arn"], out["kms_key_arn"]
                for policy in ["node_policy", "key_policy"]:
                    rights = self.rights(json.loads(out[policy]), role if policy == "key_policy" else None)
                    self.assertEqual({r for r in rights if r.startswith("kms:")}, wanted, policy)
                node = json.loads(out["node_policy"])["Statement"]
                for statement in node:
                    if str(statement["Action"]).find("kms:") >= 0:
                        self.assertEqual(statement["Resource"], key)
                    self.assertNotIn("*", statement["Resource"] if variables == [] else "")
            said = (ROOT / "docs/OPERATIONS.md").read_text().split("It needs `s3:ListBucket`")[1].split(".")[0]
            wanted = set(re.findall(r"`(s3:\w+)`", said)) | {"s3:ListBucket"}
            self.assertEqual({r for r in self.rights({"Statement": node}, None) if r.startswith("s3:")}, wanted)
            self.assertEqual(out["backup_url"], "s3://our-backups/strongroom")
            # Who manages the key does not use it.
            account = [s for s in json.loads(out["key_policy"])["Statement"] if s["Sid"] == "ManageAndNotUse"][0]
            self.assertFalse(set(account["Action"]) & (calls_of_kms() - {"kms:ListKeyRotations"}))
            self.assertFalse([a for a in account["Action"] if "*" in a])
            # A second time there is nothing to do.
            terraform("plan", "-detailed-exitcode", "-input=false", *with_all)

    def rights(self, policy, principal):
        found = set()
        for statement in policy["Statement"]:
            if principal is None or statement["Principal"] == {"AWS": principal}:
                actions = statement["Action"]
                found |= {actions} if isinstance(actions, str) else set(actions)
        return found
