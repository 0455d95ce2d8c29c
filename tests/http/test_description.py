"""The OpenAPI description, and schemathesis, which asks the server everything that it allows and forbids."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.http.client import TOKEN, Server, ask

SCHEMATHESIS = str(Path(sys.executable).with_name("schemathesis"))


def test_schemathesis_finds_nothing(server: Server, tmp_path: Path) -> None:
    limits = ["--max-examples", "40", "--seed", "3507", "--generation-database", "none"]
    token = ["--header", f"Authorization: Bearer {TOKEN}"]
    command = [SCHEMATHESIS, "run", f"{server.http_url}/openapi.json", "--checks", "all", "--no-color"]
    run = subprocess.run(
        [*command, *limits, *token], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 1" in run.stdout
    assert server.metric("icapd_internal_errors_total") == 0


def test_the_description_says_what_is_there(server: Server) -> None:
    description = ask(server, None, "/openapi.json", method="GET").json
    post = description["paths"]["/scan"]["post"]
    assert post["security"] == [{"token": []}]
    assert set(post["responses"]) == {"200", "400", "401", "403", "408", "413", "415", "431", "503"}
    answer = ask(server, b"What the description describes.")
    assert list(answer.json) == description["components"]["schemas"]["File"]["required"]
