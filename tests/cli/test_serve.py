"""`icapd serve`: its flags, and how it refuses to start."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from tests.cli.command import EICAR_RULE_ALONE, icapd
from tests.support.eicar import EICAR
from tests.support.icapd import ICAPD, environment
from tests.support.ports import free_port
from tests.support.process import Child


def test_flags_lay_over_the_file_and_ctrl_c_stops_it(tmp_path: Path) -> None:
    configuration = tmp_path / "icapd.toml"
    admin = f"http://127.0.0.1:{free_port()}"
    configuration.write_text(f'[server]\nlisten = ["icap://127.0.0.1:{free_port()}"]\nadmin = "{admin}"\n')
    first, second = (f"icap://127.0.0.1:{free_port()}" for _ in range(2))
    argv = [
        ICAPD, "serve", "--config", str(configuration), "--listen", first, "--listen", second,
        "--admin", f"http://127.0.0.1:{free_port()}", "--set", "log.access=off", "--set", "server.fronts=1",
        *EICAR_RULE_ALONE,
    ]  # fmt: skip
    with Child(argv, tmp_path / "log", env=environment()) as server:
        server.wait_until(lambda: '"event":"ready"' in server.output(), "it is ready", 30)
        assert admin not in server.output()
        (tmp_path / "eicar.com").write_bytes(EICAR)
        assert icapd("send", tmp_path / "eicar.com", "--url", first).status == 1
        assert icapd("send", tmp_path / "eicar.com", "--url", second).status == 1
        assert '"verdict"' not in server.output()
        assert server.stop(signal.SIGINT) == 0
        assert "Traceback (most recent call last)" not in server.output().partition("Exception ignored")[0]


def test_an_address_in_use_is_a_problem(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"icap://127.0.0.1:{taken.getsockname()[1]}"
        ended = icapd("serve", *EICAR_RULE_ALONE, "--listen", url, "--admin", f"http://127.0.0.1:{free_port()}")
    assert ended[:2] == (2, "")
    assert ended.err.startswith("server.listen[0]")
    assert "in use" in ended.err


def test_an_impossible_address_is_a_problem() -> None:
    ended = icapd("serve", "--listen", "http://127.0.0.1:1", "--admin", "ftp://127.0.0.1")
    assert ended[:2] == (2, "")
    assert {line.partition(":")[0] for line in ended.err.splitlines()} == {"server.listen[0]", "server.admin"}
