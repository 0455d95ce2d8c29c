"""Lists of URLs and domains: what they say of a request becomes findings. No body is looked at.

Owns the options and the spec. `lists` reads the operator's files, `names` brings hosts and paths into one form,
`table` finds names in memory that all fronts share, `engine` asks it. It tells what lists say; policy decides.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from engines.urls.engine import Kind, UrlLists
from engines.urls.lists import Source, read_lists
from icapd.scan.engine_api import EngineOptions, EngineSpec, Material, Tables


class UrlList(BaseModel):
    """One list, or one folder of categories."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(
        examples=["lists/ads.hosts"], min_length=1, description="a file, or a folder of folders with domains and urls"
    )
    name: str | None = Field(
        None,
        examples=["ads"],
        pattern=r"[!-~]{1,64}",
        description="in findings: NAME, or NAME/CATEGORY; unset = the file's or folder's name up to its first dot",
    )
    category: str | None = Field(
        None, examples=["adult"], pattern=r"[!-~]{1,64}", description="of all that is in it; unset = as folders say"
    )
    categories: list[str] = Field(
        [], examples=[["malware", "phishing"]], description="only these of a folder's; empty = all there are"
    )
    format: Literal["auto", "hosts", "domains", "urls", "squidguard"] = Field(
        "auto",
        examples=["hosts"],
        description="hosts: an address, then names that mean themselves alone; domains: names that mean all below"
        " them, too; urls: beginnings of URLs; squidguard: a folder; auto = by what is there",
    )
    kind: Kind = Field(
        "forbidden",
        examples=["info"],
        description="forbidden: shipped policies block it; suspicious; info: for your own rules; exempt: what is on"
        " it is on no other list",
    )

    def source(self, resolve: Callable[[str], Path]) -> Source:
        path = resolve(self.path)
        name = self.name or path.name.partition(".")[0] or path.name
        return Source(path, name, self.category or "", frozenset(self.categories), self.format, self.kind)


class UrlOptions(EngineOptions):
    required: bool = Field(
        True, description="nothing to set: lists are in memory, so that no request is without them"
    )
    timeout_s: float = Field(20.0, gt=0, le=600, description="nothing to set: no look-up takes time")
    lists: list[UrlList] = Field([], description="lists of hosts, domains and URLs")


def _gather(options: EngineOptions, resolve: Callable[[str], Path]) -> Material:
    assert isinstance(options, UrlOptions)
    return read_lists([entry.source(resolve) for entry in options.lists])


def _build(options: EngineOptions, tables: Tables) -> UrlLists:
    return UrlLists(tables)


def _version() -> str:
    return "1"


SPEC = EngineSpec(
    name="urls", options=UrlOptions, gather=_gather, build=_build, version=_version, build_in_front=_build
)
