//! Galley: reads configuration, tells what is wrong with it and serves the rest over MCP.
//!
//! Only wiring lives here: the source, state and snapshots are `galley-processing`, the protocol is `mesh-mcp`.

mod access_list;
pub mod advice;
pub mod args;
mod certificates;
mod debug;
mod mcp;
pub mod server;
