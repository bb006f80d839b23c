"""The sections of a workflow: what can be set, its legal values and its defaults.

Plain checked data; `organcam.workflow_file` reads it from YAML.
"""

from .data import DataConfig, LabelsConfig, ParseConfig
from .results import EvaluateConfig, ExplainConfig, ReportConfig
from .training import MaskLossConfig, ModelConfig, TrainConfig, TrainRuntime
from .volumes import InputConfig, RegionsConfig, SegmentConfig, StoreConfig
from .workflow import STAGES, Workflow

__all__ = [
    "STAGES",
    "DataConfig",
    "EvaluateConfig",
    "ExplainConfig",
    "InputConfig",
    "LabelsConfig",
    "MaskLossConfig",
    "ModelConfig",
    "ParseConfig",
    "RegionsConfig",
    "ReportConfig",
    "SegmentConfig",
    "StoreConfig",
    "TrainConfig",
    "TrainRuntime",
    "Workflow",
]
