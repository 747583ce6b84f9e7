"""A Postgres of our own on loopback, with its own settings, that goes when it is closed."""

import os
import pathlib
import pwd
import socket
import subprocess
import sys
import time

FOLDERS = [f"/usr/lib/postgresql/{n}/bin" for n in (18, 17, 16, 15)] + ["/usr/local/pgsql/bin"]


class Server:
    """Its files lie in a folder that it gets, and that it must be able to reach."""

    def __init__(self, folder):
        own = [os.environ["PG_BIN"]] if "PG_BIN" in os.environ else []
        self.bin = next((pathlib.Path(f) for f in own + FOLDERS if (pathlib.Path(f) / "initdb").exists()), None)
        if self.bin is None:
            sys.exit(f"no PostgreSQL server is installed (looked in PG_BIN and {', '.join(FOLDERS)})")
        version = subprocess.run([self.bin / "postgres", "--version"], check=True, stdout=subprocess.PIPE, text=True)
        self.version = version.stdout.strip()
        self.data = folder / "postgres"
        self.data.mkdir()
        self.user = {}
        if os.geteuid() == 0:
            # The server refuses to run as root.
            user = pwd.getpwnam("postgres")
            self.user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.data, user.pw_uid, user.pw_gid)
            folder.chmod(0o755)
        init = [self.bin / "initdb", "-D", self.data, "-U", "flow", "--auth=trust", "-E", "UTF8", "--locale=C"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd="/", **self.user)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        command = [self.bin / "postgres", "-D", self.data, "-p", str(port), *settings]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd="/", **self.user)
        self.url = f"postgres://flow@127.0.0.1:{port}/postgres"
        for _ in range(300):
            if subprocess.run([self.bin / "pg_isready", "-q", "-d", self.url]).returncode == 0:
                return
            time.sleep(0.1)
        self.close()
        sys.exit("the server did not start")

    def psql(self, *statements):
        """The command that runs statements and prints what they give, bare."""
        commands = [part for statement in statements for part in ("-c", statement)]
        return [self.bin / "psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-d", self.url, *commands]

    def ask(self, *statements):
        """What statements print."""
        return subprocess.run(self.psql(*statements), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def cpu(self):
        """The seconds of CPU that ended sessions took."""
        # A session that has ended is counted when the server has seen to it.
        time.sleep(0.3)
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.terminate()
        self.process.wait()
