"""What each client sends, in its order, as data. What a client asserts is named here and judged in ``assertions``."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Era = Literal["modern", "legacy"]
Parameters = dict[str, str | tuple[str, ...]]


class Data(BaseModel):
    """In texts ``{name}`` stands for what the client has learnt by then: see ``Attempt.values``."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Ask(Data):
    """A request that teaches the client nothing but whether to go on."""

    do: Literal["ask"]
    request: str
    status: tuple[int, ...]
    headers: dict[str, str] = {}
    asserts: tuple[str, ...] = ()


class Challenge(Data):
    """A request to the MCP URL without a token, or with one that is no good any more."""

    do: Literal["challenge"]
    request: str = "POST {mcp}"
    headers: dict[str, str] = {}
    asserts: tuple[str, ...] = ()


class Discover(Data):
    """The first of ``urls`` that is there. 4xx sends the client to the next one, anything else ends it.

    ``guesses``: when there is none, the origin of the MCP URL does, with /authorize, /token and /register.
    """

    do: Literal["resource", "server"]
    urls: tuple[str, ...]
    guesses: bool = False
    headers: dict[str, str] = {}
    asserts: tuple[str, ...] = ()


class Register(Data):
    """The body is the client's ``registration``; left out when the client has a document that the server takes.

    ``redirect_uri``: where the client is now, when it registers once more because it moved.
    """

    do: Literal["register"]
    redirect_uri: str = ""
    asserts: tuple[str, ...] = ()


class Authorize(Data):
    """``query`` beside the parameters that every client sends.

    ``deny``: the person says no. ``preflight``: the client looks by itself before it sends a person.
    ``refused``: the server finds the request wrong, and tells the client without asking anybody. No client asks
    wrongly, or is denied, of its own accord: these two are ours, to see that errors come back as the client needs them.
    """

    do: Literal["preflight", "authorize", "deny", "refused"]
    query: Parameters = {}
    asserts: tuple[str, ...] = ()


class Token(Data):
    do: Literal["redeem", "refresh"]
    form: Parameters = {}
    asserts: tuple[str, ...] = ()


class Begin(Data):
    """server/discover where the client speaks the modern era; initialize where it does not, or the server does not."""

    do: Literal["begin"]
    asserts: tuple[str, ...] = ()


class Send(Data):
    """``warns``: what the client would not stop for, and the person would like to know."""

    do: Literal["send"]
    method: str
    params: dict[str, Any] = {}
    asserts: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()


class Listen(Data):
    """A GET for the stream of an MCP session; modern clients have none."""

    do: Literal["listen"]
    status: tuple[int, ...] = (200, 405)


class End(Data):
    """A DELETE of the MCP session; modern clients have none."""

    do: Literal["end"]
    status: tuple[int, ...] = (200, 202, 204, 405)


class Idle(Data):
    """So long nothing is sent that the access token expires."""

    do: Literal["idle"]
    seconds: int


Step = Annotated[
    Ask | Challenge | Discover | Register | Authorize | Token | Begin | Send | Listen | End | Idle,
    Field(discriminator="do"),
]


class Headers(Data):
    oauth: dict[str, str] = {}
    mcp: dict[str, str] = {}


class ScopeRule(Data):
    """The first of ``sources`` that names one, else ``otherwise``; ``offline_access`` too where the server has it."""

    sources: tuple[Literal["challenge", "resource", "registration", "server"], ...] = ()
    otherwise: str = ""
    offline_access: bool = False


class Run(Data):
    """One way in which the client connects. ``client_id`` is the URL of its document; without one it registers.

    ``document``: what a person would publish, and name to the client, which has none of its own.
    ``instead``: what of the client is different in this way.
    """

    name: str
    redirect_uri: str
    redirect_uris: tuple[str, ...] = ()
    client_id: str = ""
    document: dict[str, Any] = {}
    instead: dict[str, Any] = {}
    then: tuple[Step, ...] = ()


class Client(Data):
    title: str
    where: Literal["hosted", "local", "page"]
    sources: tuple[str, ...]
    gaps: tuple[str, ...] = ()
    eras: tuple[Era, ...] = ("legacy",)
    revision: str = "2025-11-25"
    client_info: dict[str, str]
    capabilities: dict[str, Any] = {}
    origin: str = ""
    # The only ports that it connects to; any when there are none.
    ports: tuple[int, ...] = ()
    timeout: float = 10
    scope: ScopeRule = ScopeRule()
    # Of the methods that the server has, the first of these; the first that it has when there are none.
    prefers: tuple[str, ...] = ("none",)
    state: str = "{random}"
    headers: Headers = Headers()
    registration: dict[str, Any] = {}
    steps: tuple[Step, ...]
    runs: Annotated[tuple[Run, ...], Field(min_length=1)]

    def going(self, run: Run) -> "Client":
        """As it is in this way of it."""
        return Client.model_validate({**dict(self), **run.instead}) if run.instead else self

    @property
    def names_resource(self) -> bool:
        """Whether it says which address its token is to be for; one that does not gets it for all servers together."""
        return any(isinstance(step, Authorize) and "resource" in step.query for step in self.steps)


def directory() -> Path:
    """Beside this part in an installation from a wheel, among the tests in a checkout."""
    package = Path(__file__).parents[1]
    shipped = package / "clients"
    return shipped if shipped.is_dir() else package.parent / "tests" / "clients"


def names() -> list[str]:
    return sorted(path.stem for path in directory().glob("*.toml"))


def load(name: str) -> Client:
    return read(directory() / f"{name}.toml")


def read(path: Path) -> Client:
    return Client.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
