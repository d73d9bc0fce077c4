//! `mixgen` as authors run it.

mod api;
mod call;
mod guide;
mod projects;
mod resources;
mod support;
