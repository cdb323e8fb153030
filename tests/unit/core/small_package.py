"""A package of which the tests know what its stage reaches."""

# A package in which "stage:run" reaches every 1, by every way to name a definition, and no 5.
SMALL = {
    "__init__": 'from small.exported import shown_outside\n__version__ = "5"\nUNUSED = 5',
    "stage": '''
        """The stage."""

        import logging
        import math
        from functools import partial
        from typing import TYPE_CHECKING, Literal

        import small.by_dots
        import small.folder.deep as renamed
        from small import by_name, shown_outside
        from small.base import Base
        from small.errors import WrongError, explained
        from small.folder.constants import LIMIT as OTHER_NAME
        from small.progress import progress
        from small.registry import NETWORKS
        from small.settings import Noise
        from small.typed import Kind, Project

        if TYPE_CHECKING:
            from small.unused import OnlyAType

        log = logging.getLogger(__name__)
        UNUSED = 5
        Answer = Literal["a5", "b"]

        try:
            from fast_library import solve
        except ImportError:
            solve = by_name.slow_solve


        class Work(Base):
            """The work."""

            limit: int = OTHER_NAME

            async def wait(self, schema: "OnlyAType") -> Answer:
                """Wait."""
                return 1


        def decorated(function):
            return partial(function, 1)


        @decorated
        def run(x: Kind, noise: Noise, default=small.by_dots.DEFAULT) -> Answer:
            """Run it."""
            from small.lazily import helper  # where it is needed

            log.info("began with %s", x)
            what: str = f"the value of {x}"
            if x is None:
                raise WrongError(f"{what} is {explained(x)}")
            unused = 5
            try:
                x = -x
            except KeyError:
                x = 0
            for y in progress([x], "running", every=10):
                y = helper(y) + math.pi + renamed.inner(noise)
            return Work, solve(y), NETWORKS, Project, shown_outside, _again(x)


        def _again(x):
            return x and _once_more(x)


        def _once_more(x):
            return _again(x - 1)


        def unrelated():
            return UNUSED, run
    ''',
    "by_dots": "DEFAULT = 1\nOTHER = 5",
    "by_name": "def slow_solve(x):\n    global STATE\n    STATE = x\n    return 1\n\n\nSTATE = 1\nOTHER = 5",
    "base": "from small.further import Root\n\n\nclass Base(Root):\n    value = 1",
    "further": "class Root:\n    def f(self, x=1):\n        return x\n\n\nOTHER = 5",
    "errors": """
        class WrongError(ValueError):
            code = 1


        def explained(x):
            return 5
    """,
    "exported": "from small.origin import shown_outside\nOTHER = 5",
    "origin": "import small.effects\n\n\ndef shown_outside():\n    return 1",
    "effects": "import os\nMODE = 1\nos.umask(MODE)\nOTHER = 5",
    "lazily": "from small.starred import *\n\n\ndef helper(x):\n    return getattr(renamed, 'a') + ALL\n\n\nOTHER = 5",
    "starred": "import small.as_value as renamed\nALL = 1",
    "as_value": "a = 1\nb = 1",
    "progress": "def progress(items, what, every=1):\n    yield from items",
    "registry": """
        class Registry:
            def __init__(self, kind, entries):
                self.entries = entries, 1


        NETWORKS = Registry("network", {"five": "small.unused:OnlyAType"})
    """,
    "settings": """
        from pydantic import BaseModel, field_validator


        class Section(BaseModel):
            model_config = {"5": 5}


        class Inner(Section):
            also: float = 5

            def level(self):
                return self.also + 1


        class Noise(Section):
            noise: float = 5
            inner: Inner = Inner()

            @field_validator("noise")
            @classmethod
            def _check(cls, value):
                return value if value < 5 else 5


        class Unnamed(Section):
            def level(self):
                return 5
    """,
    "typed": """
        from typing import Annotated

        from pydantic import BaseModel, Field

        Kind = Annotated[int, Field(ge=5)]
        Count = Annotated[int, Field(ge=1)]


        class Project(BaseModel):
            layers: Count
            size: float = 1
    """,
    "folder/__init__": "PLACE = 5",
    "folder/deep": "def inner(noise):\n    return [noise for noise in [lambda x: x + 1]]\n\n\nnoise = 5",
    "folder/constants": "LIMIT = 1\nif LIMIT:\n    LIMIT = 1",
    "unused": "class OnlyAType:\n    x = 5",
}
