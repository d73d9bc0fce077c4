//! Mesh-wide configuration: defaults and reading (P7).
