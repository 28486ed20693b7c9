"""The size of a recurrent layer: its units per direction, and the width of its outputs."""

from typing import Any

from .saved_type import SavedUnderKnownType

DEFAULT_UNITS = 128
SIZES = ("units", "hidden_size", "bidirectional")


class SizedConfig(SavedUnderKnownType):
    """A configuration with `units`, the hidden units of a layer per direction, and `hidden_size`, the width of its
    outputs, which tools read. Each follows from the other."""

    hidden_size: int | None = None
    units: int | None = None
    bidirectional: bool = False

    def __setattr__(self, name: str, value: Any) -> None:
        complete = "_name_or_path" in self.__dict__  # the base class sets it after all fields
        # The other size is written past this method, as each of the two would change the other again.
        if complete and name == "hidden_size":
            self.__dict__["units"] = self._units_of(value)
        super().__setattr__(name, value)
        if complete and name in ("units", "bidirectional"):
            self.__dict__["hidden_size"] = self.units * self.directions  # type: ignore[operator]

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        return super().from_dict(_with_sizes(config_dict, kwargs), **kwargs)

    def _fill_sizes(self) -> None:
        """Compute the one of `units` and `hidden_size` that is not given, and refuse two that do not agree."""
        for name in ("units", "hidden_size"):
            self._check_count(name)
        if self.hidden_size is None:
            self.hidden_size = (DEFAULT_UNITS if self.units is None else self.units) * self.directions
        if self.units is not None and self.units * self.directions != self.hidden_size:
            raise ValueError(
                f"`hidden_size` is {self.hidden_size} and `units` is {self.units}; {self.directions} x {self.units} ="
                f" {self.units * self.directions} is the width of the outputs. Give only one of the two."
            )
        self.units = self._units_of(self.hidden_size)

    def _units_of(self, hidden_size: int) -> int:
        units, rest = divmod(hidden_size, self.directions)
        if rest:
            raise ValueError(
                f"`hidden_size` is {hidden_size}; it must be even, as each of the two directions (`bidirectional`)"
                " computes half of it."
            )
        return units

    def _check_count(self, name: str) -> None:
        if getattr(self, name) is not None and getattr(self, name) < 1:
            raise ValueError(f"`{name}` is {getattr(self, name)}; it must be at least 1.")

    @property
    def directions(self) -> int:
        """In how many directions each layer reads."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Width of `last_hidden_state`: `hidden_size`, which is never None once the sizes have been filled in."""
        assert self.hidden_size is not None
        return self.hidden_size


def _with_sizes(values: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The `values` of a file, with the sizes that are `given` in their place. The base class would set these one by
    one, and what `hidden_size` means depends on `bidirectional`."""
    values = dict(values)
    if "units" not in values and "hidden_size" in values:  # an earlier version wrote the units under this name
        values["units"] = values.pop("hidden_size")
    given = {name: given[name] for name in SIZES if given.get(name) is not None}
    if "hidden_size" in given:
        values.pop("units", None)
    elif given:
        values.pop("hidden_size", None)
    return values | given


__all__ = ["SizedConfig"]
