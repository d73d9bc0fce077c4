//! What is installed into a cluster.

mod files;
mod schemas;
mod server;
mod structural;
mod webhooks;
