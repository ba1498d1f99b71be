"""The proposals of a search as a value that is extended by one in O(1). Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Self, overload

from searchd.domain.trial import Proposal, TrialRole
from searchd.search.log import Log


class Proposals(Sequence[Proposal]):
    """All proposals of a search, in the order in which they were made."""

    __slots__ = ("_by_role", "_log")

    def __init__(
        self,
        log: Log[Proposal] | None = None,
        by_role: Mapping[TrialRole, Log[Proposal]] | None = None,
    ) -> None:
        self._log = Log[Proposal]() if log is None else log
        self._by_role = by_role or {}

    @classmethod
    def of(cls, proposals: Iterable[Proposal]) -> Self:
        """Return the value with these proposals."""
        made = cls()
        for proposal in proposals:
            made = made.after(proposal)
        return made

    def after(self, proposal: Proposal) -> Self:
        """Return the proposals with one more."""
        longer = self.of_role(proposal.role).appended(proposal.change, proposal)
        return type(self)(
            self._log.appended(proposal.name, proposal), {**self._by_role, proposal.role: longer}
        )

    def find(self, name: str) -> Proposal | None:
        """Return the proposal of this name; None if there is none."""
        return self._log.find(name)

    def of_role(self, role: TrialRole) -> Log[Proposal]:
        """Return the proposals of a role, in order, to be found by their change."""
        return self._by_role.get(role) or Log()

    @property
    def searched(self) -> Log[Proposal]:
        """The search trials. The number of the next search trial is their number."""
        return self.of_role(TrialRole.SEARCH)

    def lineage(self, name: str) -> list[str]:
        """Return the names of a trial's ancestors from the base to the trial itself."""
        names = [name]
        while (found := self.find(names[-1])) is not None and found.parent is not None:
            names.append(found.parent)
        return names[::-1]

    def __len__(self) -> int:
        return len(self._log)

    @overload
    def __getitem__(self, index: int) -> Proposal: ...

    @overload
    def __getitem__(self, index: slice) -> list[Proposal]: ...

    def __getitem__(self, index: int | slice) -> Proposal | list[Proposal]:
        return self._log[index]
