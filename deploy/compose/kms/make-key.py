"""Makes the key alias/strongroom in the emulator at this address, if there is none."""

import sys
import time

import boto3
from botocore.exceptions import EndpointConnectionError

kms = boto3.client(
    "kms",
    endpoint_url=sys.argv[1],
    region_name="eu-central-1",
    aws_access_key_id="trial",
    aws_secret_access_key="trial",
)
for _ in range(60):
    try:
        aliases = kms.list_aliases()["Aliases"]
        break
    except EndpointConnectionError:
        time.sleep(0.5)
else:
    sys.exit("the emulator does not answer")
if not any(alias["AliasName"] == "alias/strongroom" for alias in aliases):
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    kms.create_alias(AliasName="alias/strongroom", TargetKeyId=key)
