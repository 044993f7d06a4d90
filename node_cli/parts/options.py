"""The options of a part, typed by the signature of what makes it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, ValidationError, create_model

from node_cli.errors import UserError, one_line

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Options(BaseModel):
    """No options beside those of a signature."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=()
    )


def options_of(
    make: Callable[..., Any], given: int, name: str, base: type[BaseModel] = Options
) -> type[BaseModel]:
    """A pydantic model of the parameters of ``make`` after the first ``given``, which are not the
    user's: names, types and defaults. A parameter without a type has that of its default.

    ``name``: ``key=value``, for messages. ``base``: what the model derives from, options that
    node-train has itself. Raises ``UserError`` where a parameter cannot be set by a configuration:
    it has neither a type nor a default, a type that YAML has no values of, a default of another
    type, or the name of an option of ``base``.
    """
    made = make.__init__ if inspect.isclass(make) else make
    try:
        parameters = [*inspect.signature(make).parameters.values()]
        types = get_type_hints(made, include_extras=True)
    except Exception as error:  # a name in an annotation that is not there
        raise UserError(f"{name}: its signature cannot be read ({one_line(error)})") from error
    fields: dict[str, Any] = {}
    for parameter in parameters[given:]:
        if parameter.kind in VARIADIC:
            continue
        if parameter.name in base.model_fields:
            raise UserError(
                f"{name}: its option {parameter.name} is one that node-train has itself"
            )
        default = parameter.default
        required = default is inspect.Parameter.empty
        annotation = types.get(parameter.name)
        if annotation is None and (required or default is None):
            raise UserError(f"{name}: its option {parameter.name} has no type")
        if annotation is None:
            annotation = type(default)
        if default is None:
            annotation |= None
        fields[parameter.name] = (annotation, ... if required else default)
    try:
        model = create_model("Options", __base__=base, **fields)
        model.model_rebuild()  # where that is put off until it is used
        _check_defaults(fields)
        return model
    except ValidationError as error:
        option = error.errors()[0]["loc"][0]
        raise UserError(
            f"{name}: the default of its option {option}, {fields[str(option)][1]!r}, is not of "
            "its type"
        ) from error
    except (PydanticUserError, NameError, TypeError) as error:
        raise UserError(
            f"{name}: an option has a type that a configuration has no values of "
            f"({one_line(error)[:200]})"
        ) from error


def _check_defaults(fields: Mapping[str, Any]) -> None:
    """Raises ``ValidationError`` where one is not what a user may give."""
    defaults = {option: default for option, (_, default) in fields.items() if default is not ...}
    given: dict[str, Any] = {option: (fields[option][0], ...) for option in defaults}
    create_model("Defaults", __base__=Options, **given).model_validate(defaults)
