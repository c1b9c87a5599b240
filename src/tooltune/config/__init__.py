"""The YAML file of a run: its typed schema, dotted overrides, and errors that name the fix."""

from tooltune.config.dump import config_difference, dump_config
from tooltune.config.load import load_config
from tooltune.config.schema import Config

__all__ = ["Config", "config_difference", "dump_config", "load_config"]
