"""The files of GitHub, Meltano and pre-commit have the form that those require."""

import subprocess

import pytest

from tests.integration.environments import ROOT, environment


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("vendor.github-workflows", ".github/workflows/*.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/*.yml"),
        ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("vendor.meltano", "meltano.yml"),
    ],
)
def test_a_file_is_what_its_schema_asks_for(schema: str, pattern: str) -> None:
    check = environment("repository") / "check-jsonschema"
    files = sorted(ROOT.glob(pattern))
    assert files
    subprocess.run([check, "--builtin-schema", schema, *files], check=True)


def test_pre_commit_reads_its_hooks() -> None:
    command = environment("repository") / "pre-commit"
    config = ROOT / ".pre-commit-config.yaml"
    subprocess.run([command, "validate-config", config], cwd=ROOT, check=True)
