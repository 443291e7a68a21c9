"""Packaging of tap-listrak; the version is in tap_listrak/__init__.py."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "tap_listrak/__init__.py").read_text("utf-8"))
assert VERSION is not None
# On PyPI a relative link leads nowhere. Its text stays, which names the file; a picture goes.
README = (HERE / "README.md").read_text("utf-8")
DESCRIPTION = re.sub(r"\[([^]]+)\]\((?!https:)[^)]*\)", r"\1", re.sub(r"<img [^>]*>\n", "", README))

setup(
    name="tap-listrak",
    version=VERSION[1],
    description="Singer tap for Listrak: lists, messages and what every contact did with them",
    long_description=DESCRIPTION,
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=[
        "Environment :: Console",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Database",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=["tap_listrak", "tap_listrak.listrak", "tap_listrak.sync"],
    package_data={"tap_listrak": ["schemas/*.json", "py.typed"]},
    install_requires=[
        # The least versions are those that `make least` tests.
        "singer-python~=6.8",
        "zeep~=4.3",
        "requests>=2.32.2,<3",  # 2.32.0 and 2.32.1 were withdrawn
        "backoff>=2.2.1,<3",  # the range of singer-python
        "pytz>=2024.1",
        # zeep's and requests' own foundations, used here directly as well:
        "lxml>=5.3,<7",  # the first with wheels for every Python above
        "urllib3>=2.6,<3",  # older ones unpack a small reply into any amount of memory
        # singer-python's date parser: any number of fraction digits, in C. Before 2.4.1 a lone
        # surrogate ends the process with a segmentation fault.
        "ciso8601>=2.4.1,<3",
        # Makes and encodes a record in a fifteenth of the time that singer-python's simplejson
        # takes to encode a dict, and writes decimals with the digits that were sent.
        "msgspec>=0.19,<1",
    ],
    extras_require={
        "dev": [
            "coverage~=7.6",
            "duckdb>=1.5,<3",  # what the demo's files are loaded into
            "hypothesis~=6.100",
            "jsonschema",  # as singer-python pins it: what targets validate with
            "lxml-stubs",
            "mypy~=2.0",
            "orjson~=3.10",  # the bare loop's encoder, in the benchmarks
            "packaging",
            "pytest~=9.0",
            "pytest-xdist~=3.6",
            "pyyaml~=6.0",
            "ruff~=0.17.0",
            "setuptools>=77",  # what pyproject.toml builds with, so that the lock holds it
            "types-pytz",
            "types-PyYAML",
            "types-requests",
        ],
    },
    entry_points={"console_scripts": ["tap-listrak=tap_listrak.__main__:main"]},
)
