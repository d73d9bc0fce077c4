//! The standalone mesh as a machine: pods, names, services and commands, mostly without control plane and Envoys.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod commands;
mod host_network;
mod installation;
mod leftovers;
mod pods;
mod services;
mod support;
