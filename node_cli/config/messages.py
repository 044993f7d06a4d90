"""The one-line messages about a key and its value."""

import re
import shlex
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

# What choices are called elsewhere: in papers, and in other libraries.
ELSEWHERE = {
    "aca": "checkpointed",
    "adjoint": "backsolve",
    "autodiff": "discrete",
    "autograd": "discrete",
    "backprop": "discrete",
    "checkpointing": "checkpointed",
    "continuous_adjoint": "backsolve",
    "direct": "discrete",
    "dop853": "dopri8",
    "dormand_prince": "dopri5",
    "heun": "heun2",
    "node": "dense",
    "ode23": "bosh3",
    "ode45": "dopri5",
    "quadrature": "gauss",
    "recursive_checkpoint": "checkpointed",
    "rk23": "bosh3",
    "rk45": "dopri5",
    "runge_kutta": "rk4",
}


def close_to(text: str, choices: Iterable[str]) -> str:
    """The hint at the choice that ``text`` is another name of, or resembles; else empty."""
    choices = list(choices)
    word = text.lower().replace("-", "_")
    close = [choice for choice in [ELSEWHERE.get(word)] if choice in choices]
    close = close or get_close_matches(word, choices, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def not_among(key: str, value: Any, choices: Iterable[str]) -> str:
    """The line for a value that is not among the choices."""
    choices = list(choices)
    return f"{key}={plain(value)}: choose from {', '.join(choices)}{close_to(str(value), choices)}"


def wrong_value(key: str, value: Any, detail: ErrorDetails) -> str:
    """The line for a value that pydantic refuses."""
    match detail["type"]:
        case "literal_error":
            expected = detail["ctx"]["expected"].replace(" or ", ", ")
            return not_among(key, value, expected.replace("'", "").split(", "))
        case "missing":
            return f"{key}: missing"
        case "list_type" if isinstance(value, str):
            return f"{key}={plain(value)}: must be a list, such as [{plain(value)}]"
        case "value_error":
            return f"{key}={plain(value)}: {detail['ctx']['error']}"
    rule = detail["msg"].replace("Input should be", "must be")
    return f"{key}={plain(value)}: {rule}" + ", not text" * isinstance(value, str)


def plain(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, list):
        return f"[{','.join(map(plain, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{...}"
    text = "null" if value is None else str(value)
    return text if text.isprintable() else repr(text)


def shell_override(key: str, value: object) -> str:
    """``key=value`` as it can be pasted into a shell, whatever characters are in the value."""
    text = str(value)
    return f"{key}={text}" if _means_itself(text) else shlex.quote(quoted(key, text))


def _means_itself(text: str) -> bool:
    """Whether neither a shell nor Hydra's grammar reads anything else: a number, say."""
    if not re.fullmatch(r"[A-Za-z0-9_./@%+-]+", text) or text.lower() in ("true", "false", "null"):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def quoted(key: str, text: str) -> str:
    """``key='text'`` in the grammar of Hydra's overrides."""
    # A backslash means itself, unless a quote follows: there, and at the end, it is doubled.
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: m[1] * 2 + "\\'" * bool(m[2]), text)
    return f"{key}='{escaped}'"
