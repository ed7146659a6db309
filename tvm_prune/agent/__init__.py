"""The agent: a TVM RPC server in C++ for boards that have no Python."""

from __future__ import annotations

from tvm_prune.agent.building import AGENT, ARCHITECTURES, build_agent, cached_agent

__all__ = ["AGENT", "ARCHITECTURES", "build_agent", "cached_agent"]
