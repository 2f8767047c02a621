"""The images' recipes, by hadolint, and by what it has no rule for: pins of what quotes depend on, users, keys.

Nothing is built here: the packages' repositories may not be within reach, and only hardware would show that they work.
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from harness import DEADLINE_S

DIRECTORY = Path(__file__).parents[2] / "examples"
FILES = sorted(DIRECTORY.glob("*/Containerfile"))
HADOLINT = Path(sysconfig.get_path("scripts")) / "hadolint"
STAGE = re.compile(r"^FROM (\S+)(?: AS (\S+))?$", re.MULTILINE)


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HADOLINT), "--no-color", "-"], input=text, check=False, capture_output=True, text=True, timeout=DEADLINE_S
    )


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction and its arguments; comments left out, continued lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = lines.replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def final_stage(text: str) -> list[tuple[str, str]]:
    found = instructions(text)
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


@pytest.fixture(params=FILES, ids=lambda path: path.parent.name)
def text(request: pytest.FixtureRequest) -> str:
    """A recipe."""
    path = request.param
    assert isinstance(path, Path)
    return path.read_text()


def test_hadolint_finds_nothing(text: str) -> None:
    done = hadolint(text)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(text: str) -> None:
    assert "DL3020" in hadolint(text + "\nADD file /\n").stdout


def test_each_image_from_outside_is_pinned_by_tag_and_digest(text: str) -> None:
    stages = {name for _, name in STAGE.findall(text)}
    for base, _ in STAGE.findall(text):
        assert base in stages or re.fullmatch(r"docker\.io/[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", base), base


def test_stages_from_outside_are_of_one_image(text: str) -> None:
    assert len({base for base, _ in STAGE.findall(text) if "@" in base}) == 1


def test_the_image_runs_as_the_jobs_user(text: str) -> None:
    users = [rest for word, rest in final_stage(text) if word == "USER"]
    assert users == ["65532:65532"]


def test_the_program_is_an_argument_vector(text: str) -> None:
    (entry,) = [rest for word, rest in final_stage(text) if word == "ENTRYPOINT"]
    assert entry.startswith("[")


def test_lists_of_packages_are_not_kept(text: str) -> None:
    for word, rest in instructions(text):
        if word == "RUN" and "apt-get update" in rest:
            assert "rm -rf /var/lib/apt/lists/*" in rest
            assert "--no-install-recommends" in rest


def test_what_quotes_depend_on_is_pinned(text: str) -> None:
    installed = [rest for word, rest in instructions(text) if word == "RUN" and "apt-get install" in rest]
    named = re.findall(r"(?<!\S)((?:libsgx|az-dcap)[\w-]+)(\S*)", " ".join(installed))
    assert [package for package, version in named if not re.fullmatch(r"=\d[\w.]*(-\w+)?", version)] == []


def test_what_is_fetched_is_compared_with_something(text: str) -> None:
    """A digest, or a key's fingerprint; only by TLS."""
    for word, rest in instructions(text):
        if word == "RUN" and "curl --" in rest:
            assert rest.count("curl --") == rest.count("--proto '=https'") == rest.count("https://")
            assert "sha256sum --check --strict" in rest or rest.count('test "$(primary ') == rest.count("curl --")


def test_no_key_or_quoting_enclave_is_in_the_image(text: str) -> None:
    final = " ".join(rest for _, rest in final_stage(text))
    assert not re.search(r"\.pem|/run/secrets|libsgx-ae-|sgx-aesm-service|sgx_provision", final)


def test_the_image_of_azures_page_is_there_with_everything_it_named() -> None:
    text = (DIRECTORY / "open_enclave/Containerfile").read_text()
    for part in ("open-enclave", "libsgx-quote-ex=", "libsgx-dcap-ql=", "az-dcap-client="):
        assert part in text
    assert ("ENV", "SGX_AESM_ADDR=1") in final_stage(text)


def test_the_clients_of_intels_library_have_it_ask_aesm() -> None:
    asking = {path.parent.name for path in FILES if ("ENV", "SGX_AESM_ADDR=1") in final_stage(path.read_text())}
    assert asking == {"open_enclave", "quote_generation_sample"}  # Gramine asks without being told


def test_an_installer_that_nobody_compared_with_anything_is_not_run() -> None:
    words = instructions((DIRECTORY / "quote_generation_sample/Containerfile").read_text())
    assert ("ARG", "SDK_SHA256") in words
