"""The teachers that a search draws from: subnets of a pool, registered teachers, or both. Pure."""

import random
from dataclasses import dataclass

from searchd.domain.errors import InvalidValueError
from searchd.domain.subnet import Subnet, SubnetSpace
from searchd.domain.teacher import RegisteredTeacher, Teacher
from searchd.search.sampling import mutate_subnet


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherSet:
    """The teachers of a search. With a pool alone, every draw is as in Joint-DetNAS.

    Raises:
        InvalidValueError: There is neither a pool nor a registered teacher.
    """

    space: SubnetSpace | None
    """The pool's subnets; None without a pool."""
    registered: tuple[RegisteredTeacher, ...]
    """Registered teachers, all different, in the order in which the search names them."""
    registered_share: float
    """Probability, from 0 to 1, that a draw is of a registered teacher, if there is a pool too."""

    def __post_init__(self) -> None:
        if self.space is None and not self.registered:
            raise InvalidValueError("a search needs a pool, a registered teacher, or both")

    @property
    def first(self) -> Teacher:
        """The teacher of trial 0: the pool's largest subnet, or the first registered teacher."""
        return self.registered[0] if self.space is None else self.space.largest

    @property
    def likely_best(self) -> tuple[Teacher, ...]:
        """The teachers that are likely to be best: the largest subnet, the registered ones."""
        return (*(() if self.space is None else (self.space.largest,)), *self.registered)

    @property
    def has_one_registered_alone(self) -> bool:
        """Whether one registered teacher is all there is."""
        return self.space is None and len(self.registered) == 1

    def draw(self, rng: random.Random) -> Teacher:
        """Draw a teacher: a registered one by its share, each equally likely, else a subnet."""
        if self.space is None or (self.registered and rng.random() < self.registered_share):
            return rng.choice(self.registered)
        return self.space.sample(rng)

    def another(
        self, teacher: Teacher, rng: random.Random, another_gene_probability: float
    ) -> Teacher:
        """Draw another teacher than `teacher`: a registered one by the share, else a subnet.

        A subnet is a mutation of `teacher` (docs/papers.md 1.2), or any subnet if `teacher` is a
        registered one, which has no genes to mutate.

        Returns:
            The teacher; `teacher` itself if there is no other.
        """
        others = [each for each in self.registered if each != teacher]
        if self.space is None:
            return rng.choice(others) if others else teacher
        if others and rng.random() < self.registered_share:
            return rng.choice(others)
        if isinstance(teacher, Subnet):
            return mutate_subnet(teacher, self.space, rng, another_gene_probability)
        return self.space.sample(rng)
