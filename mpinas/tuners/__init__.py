"""Search policies by name: what ``tuner.name`` in a configuration may be."""

from __future__ import annotations

from collections.abc import Mapping

from mpinas.tuners.base import TunerEntry
from mpinas.tuners.codeepneat import CoDeepNeat
from mpinas.tuners.codeepneat_config import CoDeepNeatConfig
from mpinas.tuners.random_search import RandomSearch, RandomSearchConfig

TUNERS: Mapping[str, TunerEntry] = {
    "codeepneat": TunerEntry(config=CoDeepNeatConfig, build=CoDeepNeat),
    "random_search": TunerEntry(config=RandomSearchConfig, build=RandomSearch),
}
