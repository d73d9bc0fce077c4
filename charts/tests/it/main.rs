//! What is installed into a cluster.

mod files;
mod schemas;
mod structural;
