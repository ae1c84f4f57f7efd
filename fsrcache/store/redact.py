"""Keeps credentials out of every text that somebody reads: those of URLs, of options and of the environment."""

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

_NAMED = re.compile(
    r"secret|token|passw|credential|connection|auth|account_key|(^|_|access)key(_|$)|(^|_)sas(_|$)", re.I
)
_USER = re.compile(r"(\w[\w+.-]*://)(\S*:\S*|[^/\s]*)@")  # a secret may hold slashes, so up to the last @
_SHORTEST = 8  # of a variable's value and of a user without a password, which may well be words of a message


def redacted(text: str, secrets: tuple[str, ...] = ()) -> str:
    """Return a text without users and passwords of URLs, without their queries, and without secrets."""
    text = _USER.sub(r"\1***@", text)
    text = re.sub(r"(\w+://[^\s?]+)\?\S+", r"\1?***", text)
    for secret in sorted({*secrets, *_environment_secrets()}, key=len, reverse=True):
        for form in {secret, quote(secret, safe=""), unquote(secret)}:
            text = text.replace(form, "***")
    return text


def secrets_of(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of a client's options that are not to be repeated: by the names of the options."""
    secrets: list[str] = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            secrets += secrets_of(value)
        elif isinstance(value, str) and _NAMED.search(str(name)):
            secrets.append(value)
    return tuple(value for value in secrets if value)


def secrets_of_client(store: Any) -> tuple[str, ...]:
    """Return the secrets in the options of a Zarr store's client, as fsspec and obstore keep them."""
    inner = getattr(store, "fs", None), getattr(store, "store", None)
    every = getattr(inner[0], "storage_options", None), getattr(inner[1], "config", None)
    return tuple(secret for options in every if isinstance(options, Mapping) for secret in secrets_of(options))


def secrets_of_url(url: str) -> tuple[str, ...]:
    """Return what stands before the host of a URL, and its password."""
    match = _USER.match(url)
    if match is None:
        return ()
    user, colon, password = match[2].partition(":")
    long_user = (user,) if len(user) >= _SHORTEST else ()
    if not colon:
        return long_user
    bucket = match[2].partition("/")[0]  # what a client takes for one where the password has a slash
    return tuple(text for text in (match[2], bucket, password, *long_user) if text)


def _environment_secrets() -> list[str]:
    return [value for name, value in os.environ.items() if len(value) >= _SHORTEST and _NAMED.search(name)]
