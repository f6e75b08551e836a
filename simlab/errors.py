"""What simlab says when something is wrong: the thing, the value, the remedy.

Why: a learner should be able to mend a mistake from its message alone, and a program should be able to catch
everything that is the caller's to mend with one name. A traceback that is not a `SimlabError` is our bug.
"""


class SimlabError(Exception):
    """Something the caller can mend.

    >>> print(ConfigError("days", -3, "give a whole number from 1 up"))
    days: -3 will not do; give a whole number from 1 up
    """

    def __init__(self, thing: str, value: object, remedy: str) -> None:
        super().__init__(thing, value, remedy)
        self.thing = thing
        self.value = value
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.thing}: {self.value!r} will not do; {self.remedy}"


class ConfigError(SimlabError):
    """A setting is unknown, of the wrong type or out of its range."""


class DataError(SimlabError):
    """A data file is missing, damaged or not in its format."""


class ModelError(SimlabError):
    """A model file is missing, damaged or does not fit the catalogue."""


class RunError(SimlabError):
    """A run folder cannot be used as asked."""


class InboxError(SimlabError):
    """The inbox cannot keep or move something now, or was given what it must not keep."""


class NotebookError(SimlabError):
    """A notebook was given parameters it does not have, or it failed."""
