"""An S3 of the test's own, from moto: in this process, on a free port, with one bucket."""

from collections.abc import Iterator
from contextlib import contextmanager

import boto3
import httpx2
from moto.server import ThreadedMotoServer

BUCKET = "blobs"


@contextmanager
def running_s3() -> Iterator[str]:
    """The endpoint's address, with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # What it holds belongs to the process, not to this server.
        httpx2.post(f"{url}/moto-api/reset").raise_for_status()
        client_of(url).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        server.stop()


def client_of(url: str):
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1")


def keys_in(url: str) -> list[str]:
    """The keys of the bucket's objects."""
    return [found["Key"] for found in client_of(url).list_objects_v2(Bucket=BUCKET).get("Contents", ())]
