"""Signature Version 4, by which Amazon's services know who asks, for the one form of request that is made here.

The algorithm is published (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html),
and so are requests with their signatures, which the tests sign. It takes these few lines, while the library that signs
for Python, botocore, brings the contracts of all of Amazon's services (30 MB) and looks for keys in files of its own.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


def sign(
    headers: Mapping[str, str], body: bytes, *, path: str, region: str, service: str, key: str, secret: str
) -> str:
    """Return the header Authorization of a POST without a query.

    Args:
        headers: All that is signed: ``Host`` and ``X-Amz-Date`` (``YYYYMMDDTHHMMSSZ``, UTC) at least.
        body: What is sent.
        path: Of the address, of letters, digits and ``-._~/``, which stand for themselves.
        region: As in ``us-east-1``.
        service: As in ``rekognition``.
        key: The access key's ID, which is told.
        secret: The secret access key, which is not.
    """
    lower = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    names = sorted(lower)
    moment, signed = lower["x-amz-date"], ";".join(names)
    lines = "".join(f"{name}:{lower[name]}\n" for name in names)
    request = f"POST\n{path}\n\n{lines}\n{signed}\n{hashlib.sha256(body).hexdigest()}"
    scope = [moment[:8], region, service, "aws4_request"]
    text = f"{_ALGORITHM}\n{moment}\n{'/'.join(scope)}\n{hashlib.sha256(request.encode()).hexdigest()}"
    digest = f"AWS4{secret}".encode()
    for part in (*scope, text):
        digest = hmac.new(digest, part.encode(), hashlib.sha256).digest()
    return f"{_ALGORITHM} Credential={key}/{'/'.join(scope)}, SignedHeaders={signed}, Signature={digest.hex()}"
