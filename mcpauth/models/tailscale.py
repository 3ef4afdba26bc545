"""What tailscaled says of this machine and of others (its LocalAPI): of each answer, what is needed here."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field


def _keys(value: Any) -> Any:
    return tuple(value) if isinstance(value, dict) else value


def _set_keys(value: Any) -> Any:
    return tuple(key for key, is_set in value.items() if is_set is True) if isinstance(value, dict) else value


def _undotted(value: Any) -> Any:
    return value.rstrip(".") if isinstance(value, str) else value


def _empty(value: Any) -> Any:
    """What has nothing in it comes as null."""
    return () if value is None else value


def _none(value: Any) -> Any:
    return {} if value is None else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_empty)]
Keys = Annotated[frozenset[str], BeforeValidator(_empty), BeforeValidator(_keys)]
SetKeys = Annotated[frozenset[str], BeforeValidator(_empty), BeforeValidator(_set_keys)]
DNSName = Annotated[str, BeforeValidator(_undotted)]


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Status(Answer):
    """``tailscale status --json --peers=false``. Names are without the dot at their end."""

    version: str = Field("", validation_alias="Version")
    backend_state: str = Field(validation_alias="BackendState")
    health: Texts = Field((), validation_alias="Health")
    cert_domains: Texts = Field((), validation_alias="CertDomains")
    dns_name: DNSName = Field("", validation_alias=AliasPath("Self", "DNSName"))
    addresses: Texts = Field((), validation_alias=AliasPath("Self", "TailscaleIPs"))
    tags: Texts = Field((), validation_alias=AliasPath("Self", "Tags"))
    capabilities: Keys = Field(frozenset(), validation_alias=AliasPath("Self", "CapMap"))
    tailnet: str = Field("", validation_alias=AliasPath("CurrentTailnet", "Name"))
    magic_dns_suffix: DNSName = Field("", validation_alias=AliasPath("CurrentTailnet", "MagicDNSSuffix"))
    magic_dns: bool = Field(False, validation_alias=AliasPath("CurrentTailnet", "MagicDNSEnabled"))

    @property
    def running(self) -> bool:
        """Signed in to a tailnet, and connected to it."""
        return self.backend_state == "Running"


class Handler(Answer):
    """What is mounted at a path: a proxy to ``proxy``, or something else (then it is empty)."""

    proxy: str = Field("", validation_alias="Proxy")


class WebServer(Answer):
    handlers: Annotated[Mapping[str, Handler], BeforeValidator(_none)] = Field({}, validation_alias="Handlers")


class TcpPort(Answer):
    """``forward`` is where its connections go, when they are passed on as they are."""

    forward: str = Field("", validation_alias="TCPForward")


class ServeConfig(Answer):
    """``tailscale serve status --json``. ``web`` and ``funnel`` are by ``host:port``, ``tcp`` by port.

    ``foreground`` are those that end with the command that began them, which is one without --bg.
    """

    web: Annotated[Mapping[str, WebServer], BeforeValidator(_none)] = Field({}, validation_alias="Web")
    tcp: Annotated[Mapping[str, TcpPort], BeforeValidator(_none)] = Field({}, validation_alias="TCP")
    funnel: SetKeys = Field(frozenset(), validation_alias="AllowFunnel")
    foreground: Annotated[Mapping[str, "ServeConfig"], BeforeValidator(_none)] = Field(
        {}, validation_alias="Foreground"
    )


class Whois(Answer):
    """``tailscale whois --json``: whose node an address is. Of a tagged node nobody's."""

    node_name: DNSName = Field("", validation_alias=AliasPath("Node", "Name"))
    tags: Texts = Field((), validation_alias=AliasPath("Node", "Tags"))
    sharee: bool = Field(False, validation_alias=AliasPath("Node", "Hostinfo", "ShareeNode"))
    user_id: int = Field(validation_alias=AliasPath("UserProfile", "ID"))
    login: str = Field(validation_alias=AliasPath("UserProfile", "LoginName"))
    display_name: str = Field("", validation_alias=AliasPath("UserProfile", "DisplayName"))
    picture: str = Field("", validation_alias=AliasPath("UserProfile", "ProfilePicURL"))


class Visitor(BaseModel):
    """What a request over the Unix socket says of whoever sent it, in the headers that tailscaled sets.

    ``uid`` is the user of the process at the other end, as the system knows it. ``plain``: the headers are as
    tailscaled writes them, each once, and nothing else has passed the request on.
    """

    model_config = ConfigDict(frozen=True)

    uid: int | None
    funnel: bool
    plain: bool
    login: str
    address: str
