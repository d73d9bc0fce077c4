//! What is installed into a cluster.

mod files;
mod mixer;
mod schemas;
mod server;
mod structural;
mod webhooks;
