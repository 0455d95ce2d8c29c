"""Every configuration key, its default, its meaning and its bounds. Defaults live here and nowhere else.

`conf/icapd.toml` is generated from this package (`python -m icapd.config.render`), and a test keeps it so. What takes
more than one key to judge (other keys, files, policy) is checked in `icapd.config.checks`.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from icapd.config.schema.base import KiB as KiB
from icapd.config.schema.base import MiB as MiB
from icapd.config.schema.base import Network as Network
from icapd.config.schema.base import Table as Table
from icapd.config.schema.http import SCAN_PATH as SCAN_PATH
from icapd.config.schema.http import Http as Http
from icapd.config.schema.http import HttpFiles as HttpFiles
from icapd.config.schema.rules import Pages as Pages
from icapd.config.schema.rules import Rule as Rule
from icapd.config.schema.rules import When as When
from icapd.config.schema.scanning import INERT_ALONE as INERT_ALONE
from icapd.config.schema.scanning import Cache as Cache
from icapd.config.schema.scanning import DiskCache as DiskCache
from icapd.config.schema.scanning import MemcachedCache as MemcachedCache
from icapd.config.schema.scanning import MemoryCache as MemoryCache
from icapd.config.schema.scanning import Scanners as Scanners
from icapd.config.schema.scanning import SelectionRow as SelectionRow
from icapd.config.schema.scanning import SpoolTable as SpoolTable
from icapd.config.schema.services import SERVICES as SERVICES
from icapd.config.schema.services import Client as Client
from icapd.config.schema.services import Delivery as Delivery
from icapd.config.schema.services import Method as Method
from icapd.config.schema.services import ProfileName as ProfileName
from icapd.config.schema.services import Service as Service
from icapd.config.schema.serving import Limits as Limits
from icapd.config.schema.serving import PolicyName as PolicyName
from icapd.config.schema.serving import Server as Server
from icapd.config.schema.serving import Timeouts as Timeouts
from icapd.config.schema.trials import ShadowTable as ShadowTable
from icapd.config.schema.zones import time_zone as time_zone
from icapd.config.schema.zones import week_minute as week_minute


class Log(Table):
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="of the event log on standard error"
    )
    access: str = Field("-", description="one line a transaction: - = standard output, a path, or off")
    format: Literal["json", "text"] = Field("json", description="of the access lines")


class Settings(Table):
    """The whole configuration. `engines` holds one validated options model for each installed engine."""

    server: Server = Server()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    spool: SpoolTable = SpoolTable()
    scanners: Scanners = Scanners()
    service: list[Service] = Field([Service(**table) for table in SERVICES], min_length=1)
    client: list[Client] = Field([])
    http: Http = Http()
    selection: list[SelectionRow] = Field([INERT_ALONE])
    engines: dict[str, Any] = Field({})
    cache: Cache = Cache()
    delivery: Delivery = Delivery()
    pages: Pages = Pages()
    shadow: ShadowTable = ShadowTable()
    log: Log = Log()
    policy: list[Rule] = Field([])
