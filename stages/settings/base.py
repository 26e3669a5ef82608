"""What all blocks of settings share: the base class, and types with bounds."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic.fields import FieldInfo

from stages.settings.layers import lay_over

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Precision = Annotated[
    Literal["float32", "bfloat16"],
    Field(
        description="of the network's operations; bfloat16 is mixed precision, faster on GPUs and"
        " CPUs that have instructions for it, slower on others"
    ),
]
Range = TypeVar("Range", bound=tuple[float, float])


def _quotable(path: str) -> str:
    """Accept a path that can be quoted in a shell command and holds no Snakemake wildcard."""
    if not path.strip() or set(path) & set("'{}\n\0"):
        raise ValueError("a path must not be empty or contain a quote, a brace or a line break")
    return path


def _factor(zoom: float) -> float:
    if zoom > 10:
        raise ValueError("a zoom is a factor, not a percentage: 1 keeps the size, 10 is the limit")
    return zoom


Zoom = Annotated[Positive, AfterValidator(_factor)]
PathText = Annotated[str, AfterValidator(_quotable)]


def ordered(bounds: Range) -> Range:
    """Refuse a range whose lower bound does not come first."""
    if bounds[0] > bounds[1]:
        raise ValueError("the lower bound must come first")
    return bounds


class Block(BaseModel):
    """A block of the config. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _booleans_are_not_numbers(cls, values: Any) -> Any:  # noqa: ANN401 - any value of a config
        """Refuse true and false for a number: YAML reads `on` and `yes` as true."""
        for key, field in _given(cls, values):
            kinds = (field.annotation, *get_args(field.annotation))
            if isinstance(values[key], bool) and bool not in kinds:
                raise ValueError(f"{key}: true and false are not allowed here")
        return values

    @model_validator(mode="before")
    @classmethod
    def _nested_blocks_are_complete(cls, values: Any) -> Any:  # noqa: ANN401 - any value of a config
        """Take keys that a nested block leaves out, its kind too, from the field's default."""
        defaults = {
            key: field.default.model_dump()
            for key, field in _given(cls, values)
            if isinstance(field.default, Block) and isinstance(values[key], Mapping)
        }
        completed = {key: lay_over(default, values[key]) for key, default in defaults.items()}
        return {**values, **completed} if completed else values


def _given(model: type[BaseModel], values: object) -> list[tuple[str, FieldInfo]]:
    """The fields of a model that `values` has a value for."""
    fields = model.model_fields.items()
    return [(key, field) for key, field in fields if isinstance(values, Mapping) and key in values]
