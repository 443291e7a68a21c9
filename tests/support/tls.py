"""TLS on loopback, with a certificate that a test may let the tap trust."""

import ssl
from pathlib import Path

import pytest

# A key that protects nothing, and a self-signed certificate for 127.0.0.1, valid until 2126.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWcgK79cM7P5bjq/j
Y4mhCEChmu8sGQEUmvB1zppg7aChRANCAARO+0Ym1H5D0esobaIhDUDkRU0to0Bw
z8llXa5xI3bYxFFcXfSTLHdTWD0CenpjzypeYmRN1FAX74tpiX1Fm7Ly
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBjzCCATagAwIBAgIUF9l+dH7uVksURR6YIVa1gQQGyVEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyMzE0MzExM1oYDzIxMjYxMDMw
MTQzMTEzWjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARO+0Ym1H5D0esobaIhDUDkRU0to0Bwz8llXa5xI3bYxFFcXfSTLHdT
WD0CenpjzypeYmRN1FAX74tpiX1Fm7Lyo2QwYjAdBgNVHQ4EFgQUiYBr9cJR4B30
JoGA77Ops5reFdQwHwYDVR0jBBgwFoAUiYBr9cJR4B30JoGA77Ops5reFdQwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0cAMEQC
IBUnQXqY4y+TslLQQO73dwgPnOvdNGLM3yigKcUbYftTAiBXUT4enLUCSXoZqxn3
cykST6OFBMrqnXramzGehRYtbA==
-----END CERTIFICATE-----
"""


def certificate(folder: Path) -> Path:
    """Write the key and certificate to a file."""
    pem = folder / "certificate.pem"
    pem.write_text(CERTIFICATE)
    return pem


def tls_context(folder: Path) -> ssl.SSLContext:
    """Return the TLS context of a server at 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(folder))
    return context


def trust_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tap trust the certificate."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate(folder)))
