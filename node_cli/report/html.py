"""HTML whose text is escaped: what stands in a configuration or a folder's name is never markup."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape


class Html(str):
    """Text that is markup already. Made by the functions of this file alone."""

    __slots__ = ()


def element(tag: str, *content: str, **attributes: object) -> Html:
    """An element. ``content``: text, which is escaped, or ``Html``. ``attributes``: ``data_sort``
    stands for ``data-sort``, ``class_`` for ``class``; left out where the value is None or False.
    """
    written = "".join(
        f" {name.strip('_').replace('_', '-')}"
        + ("" if value is True else f'="{escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{written}>{joined(content)}</{tag}>")


def joined(content: Iterable[str]) -> Html:
    """Pieces of text, which are escaped, and of ``Html``, one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in content))


@dataclass(frozen=True)
class Cell:
    """A cell of a table. ``sort``: what its column is sorted by, None for its text. ``attributes``:
    further ones of the element."""

    content: str
    sort: float | None = None
    attributes: Mapping[str, object] | None = None

    def html(self) -> Html:
        """The element."""
        number = "number" if self.sort is not None else None
        more = {"class_": number, "data_sort": self.sort, **(self.attributes or {})}
        return element("td", self.content, **more)


Row = tuple[Sequence[Cell], Mapping[str, object]]
"""The cells of a row, and the attributes of its element."""


def table(header: Sequence[str], rows: Sequence[Row], **attributes: object) -> Html:
    """A table that the page's script sorts and filters."""
    head = element("tr", *(element("th", name, scope="col") for name in header))
    body = [element("tr", *(cell.html() for cell in cells), **more) for cells, more in rows]
    inside = element("table", element("thead", head), element("tbody", *body), **attributes)
    return element("div", inside, class_="scroll")
