"""Errors of object stores as one line that holds no credentials.

The texts of the library are looked at and never repeated: they may hold the address of an endpoint with a user and
a password in it, and the answer of a server in full.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions

from tiler.errors import StoreError
from tiler.stores.address import Address

NO_BUCKET = ("NoSuchBucket", "The specified bucket does not exist")
METADATA_SERVICES = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "metadata/instance")
CREDENTIALS = {"s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for public data",
               "gs": "GOOGLE_APPLICATION_CREDENTIALS, or GOOGLE_SKIP_SIGNATURE=true for public data"}
REFUSALS = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
TROUBLE = (exceptions.BaseError, OSError)


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Say in one line what an object store could not do. "Not found" passes as `FileNotFoundError`.

    Raises
    ------
    StoreError
        Without the library's error as its context, whose text may hold credentials.
    FileNotFoundError
        If the store says that there is no such object in a bucket that exists.
    """
    try:
        yield
    except StoreError:
        raise
    except FileNotFoundError as error:
        if any(words in str(error) for words in NO_BUCKET):
            where = " (AWS_ENDPOINT_URL, AWS_REGION)" if address.scheme == "s3" else ""
            raise StoreError(f"there is no bucket {address.root}{where}") from None
        raise FileNotFoundError(str(address)) from None
    except TROUBLE as error:
        raise StoreError(_line(address, error)) from None


def _line(address: Address, error: Exception) -> str:
    text = str(error)
    wanted = CREDENTIALS.get(address.scheme)
    if any(service in text for service in METADATA_SERVICES):
        return f"{address}: there are no credentials: set {wanted}"
    if isinstance(error, REFUSALS):
        credentials = f" and the credentials, {wanted}" if wanted else ""
        return f"{address}: the store refuses access{_status(text)}: check the name{credentials}"
    return f"{address}: the store {_failure(text, type(error).__name__, address.scheme)}"


def _failure(text: str, kind: str, scheme: str) -> str:
    told = text.partition("Debug source")[0].replace("retry_timeout", "").lower()
    if "incorrectly configured region" in told:
        return "has the bucket in another region: set AWS_REGION"
    if _status(text):
        return f"failed{_status(text)}{_attempts(text)}"
    if "timed out" in told or "timeout" in told or "TimedOut" in text:
        return f"gave no answer in time{_attempts(text)} (TILER_STORE_TIMEOUT)"
    if "error sending request" in told or "connect" in told:
        endpoint = " (AWS_ENDPOINT_URL)" if scheme == "s3" else ""
        return f"cannot be reached{_attempts(text)}: is the network up, the address right?{endpoint}"
    return f"failed ({kind}){_attempts(text)}"


def _status(text: str) -> str:
    found = re.search(r"status code: (\d{3})", text)
    return f" with status {found[1]}" if found else ""


def _attempts(text: str) -> str:
    retries = re.search(r"after (\d+) retries", text)
    return f" after {int(retries[1]) + 1} attempts" if retries else ""


def worth_another(error: Exception) -> bool:
    """Whether the library gave up without trying again: it does for answers cut short and for conditional writes."""
    return isinstance(error, exceptions.GenericError) and re.search(r"after \d+ retries", str(error)) is None \
        and re.search(r"status code: [34]\d\d", str(error)) is None and "builder error" not in str(error)
