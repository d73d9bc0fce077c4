//! The companion of every Envoy: writes its bootstrap, starts it, watches over it and drains it.
//!
//! ```text
//! flags, environment ─▶ config ─▶ bootstrap ─▶ proxy ─▶ envoy-rev<n>.json
//!                                                │
//! certificates ─▶ watcher ─▶ supervisor ─▶ launch ─▶ Envoy
//!                              ▲   │                   │
//!                              │   ▼                   │
//!                              │  agent (decides)      │
//!                              └────── exits ──────────┘
//! ```
//!
//! [`agent`] and [`bootstrap`] decide and do nothing else: no files, processes or clocks.

pub mod admin;
pub mod agent;
pub mod args;
pub mod bootstrap;
pub mod cli;
pub mod config;
pub mod drain;
pub mod env;
pub mod http;
pub mod interfaces;
pub mod launch;
pub mod proxy;
pub mod request;
pub mod server;
pub mod status;
pub mod supervisor;
pub mod template;
pub mod throttle;
pub mod watcher;
