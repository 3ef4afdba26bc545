"""A story, asked for what matters about its end."""

from ..models.records import Step, StepKind, Story

# A client that is not done goes on within this.
PATIENCE = 60

# Anybody at the same address may have looked around.
LOOKS: frozenset[StepKind] = frozenset({"challenge", "discovery"})

# Of JSON-RPC: what says nothing of the connection, but that the request came and was answered. What is wrong with how
# the client makes all of its requests has one of the same codes.
OF_ONE_REQUEST = ("-32601: ", "-32602: ", "-32002: ")
OF_EVERY_REQUEST = ("-32602: params._meta", "-32602: io.modelcontextprotocol/")

EXPIRED = "invalid_token: the access token has expired"
PAUSED = (
    "temporarily_unavailable: the owner of this server has paused",
    "-32000: the owner of this server has paused",
)


def went_well(kind: StepKind, status: int, error: str | None) -> bool | None:
    """Whether a step did what it was for; None where it says nothing of that."""
    if kind == "mcp":
        if status in (405, 503):
            return None  # Many clients look whether there is a stream before there can be one; or it was too much.
        if error is not None and error.startswith(OF_ONE_REQUEST):
            return not error.startswith(OF_EVERY_REQUEST)
    return status < 400 and error is None


class Course:
    def __init__(self, story: Story, now: int) -> None:
        self.steps, self.story = story.steps, story
        self.quiet = now - story.last_at  # seconds
        self._troubles = tuple(reversed(self._open()))
        # What came of a refused refresh is not what is wrong.
        causes = [step for step in self._troubles if step.kind != "mcp" or step.status != 401]
        explained = bool(causes) and causes[0].kind != "mcp"
        self.trouble: Step | None = next(iter(causes if explained else self._troubles), None)

    def _open(self) -> list[Step]:
        """What was refused, where tokens are and at /mcp, or given back, and nothing has made good since."""
        found: list[Step] = []
        renewed_at: int | None = None
        for step in self.steps:
            well = went_well(step.kind, step.status, step.error)
            if step.kind in ("token", "refresh"):
                if well:
                    found = [one for one in found if _outlasts_a_token(one)]
                    renewed_at = step.at
                else:
                    found.append(step)
            elif step.kind == "revocation":
                found.append(step)
            elif step.kind == "mcp" and well:
                found.clear()
            elif step.kind == "mcp" and well is False and not self._was_on_its_way(step, renewed_at):
                found.append(step)
        return found

    def _was_on_its_way(self, step: Step, renewed_at: int | None) -> bool:
        """Whether it may have been sent with the old token, before the client had the new one."""
        at = self.story.last_at if step is self.steps[-1] else step.at
        return step.error == EXPIRED and renewed_at is not None and at - renewed_at <= PATIENCE

    def met(self, kinds: tuple[StepKind, ...], *beginnings: str) -> bool:
        """Whether one of the refusals that nothing made good since begins so."""
        return any(_begins(step, kinds, beginnings) for step in self._troubles)

    def fails(self, kinds: tuple[StepKind, ...], *beginnings: str) -> bool:
        """Whether that is what is wrong now."""
        return self.trouble is not None and _begins(self.trouble, kinds, beginnings)

    def says(self, words: str) -> bool:
        """Whether what is wrong now has these words somewhere, for they may stand behind a name."""
        return self.trouble is not None and words in (self.trouble.error or "")

    @property
    def worked(self) -> bool:
        return any(step.kind == "mcp" and went_well(step.kind, step.status, step.error) for step in self.steps)

    @property
    def works(self) -> bool:
        return self.worked and self.trouble is None

    def has(self, *kinds: StepKind) -> bool:
        return any(step.kind in kinds for step in self.steps)

    def succeeded(self, *kinds: StepKind) -> bool:
        return any(step.kind in kinds and step.status < 400 for step in self.steps)

    def refused(self, kinds: tuple[StepKind, ...], *beginnings: str) -> bool:
        """Whether the last step of these kinds was refused, for a reason that begins so."""
        last = next((step for step in reversed(self.steps) if step.kind in kinds), None)
        if last is None or (last.status < 400 and last.error is None):
            return False
        return _begins(last, kinds, beginnings)

    def since_token(self, kind: StepKind) -> bool:
        """Whether there was such a step after the last token was given."""
        for step in reversed(self.steps):
            if step.kind == "token" and step.status < 400:
                return False
            if step.kind == kind:
                return self.succeeded("token")
        return False

    def ends_with(self, *kinds: StepKind) -> bool:
        """Whatever looked around since."""
        last = next((step for step in reversed(self.steps) if step.kind in kinds or step.kind not in LOOKS), None)
        return last is not None and last.kind in kinds


def _outlasts_a_token(step: Step) -> bool:
    """Whether a new token, which nobody gets during a pause, leaves what was refused as it was."""
    return step.kind == "mcp" and step.status != 401 and not _begins(step, ("mcp",), PAUSED)


def _begins(step: Step, kinds: tuple[StepKind, ...], beginnings: tuple[str, ...]) -> bool:
    return step.kind in kinds and (not beginnings or (step.error or "").startswith(beginnings))
