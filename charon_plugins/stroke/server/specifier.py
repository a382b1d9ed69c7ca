"""Which SAs a 'down' or 'rekey' is about: ``name``, ``name[*]``, ``[7]``, ``name{}``, ``{7}``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORM = re.compile(r"(?P<name>.*?)(?:\[(?P<ike>\*|[0-9]{0,10})\]|\{(?P<child>\*|[0-9]{0,10})\})?\Z")


@dataclass(frozen=True, slots=True)
class Specifier:
    """What was asked for.

    Attributes:
        name: of the IKE_SA or CHILD_SA; means nothing if there is a number.
        is_child: about CHILD_SAs.
        is_all: about all of that name, not only the first.
        unique_id: about the one with this number.
    """

    name: str
    is_child: bool = False
    is_all: bool = False
    unique_id: int | None = None

    @classmethod
    def parse(cls, text: str) -> Specifier:
        """Take a specifier apart.

        Raises:
            ValueError: it has none of the forms.
        """
        found = _FORM.match(text)
        inside = None
        if found is not None and not set("[]{}") & set(found["name"]):
            inside = found["ike"] if found["child"] is None else found["child"]
            is_child = found["child"] is not None
            name = found["name"]
            if inside and inside != "*":
                return cls(name, is_child, unique_id=int(inside))
            if name:
                return cls(name, is_child, is_all=inside == "*")
        raise ValueError(
            f"expected NAME, NAME[], NAME[*], [ID], NAME{{}}, NAME{{*}} or {{ID}}, not {text!r}"
        )
