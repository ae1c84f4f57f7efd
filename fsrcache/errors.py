"""The errors of the library: what was wrong, where, which value, and what to do about it."""


class FsrcacheError(Exception):
    """The work failed, for a reason the user can read and act on (exit code 1).

    Parameters
    ----------
    what
        One sentence: what is wrong, where, with the offending value.
    remedy
        One sentence: what to do about it; empty where there is nothing to do.
    """

    exit_code = 1

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}\n{remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class RequestError(FsrcacheError):
    """The request itself was wrong: an option, an argument or a path (exit code 2)."""

    exit_code = 2
