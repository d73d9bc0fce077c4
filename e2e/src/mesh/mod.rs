//! The standalone mesh.

pub mod helper;
pub mod layout;
pub mod programs;
mod ipam;
mod dns;
mod objects;
mod source;
mod endpoints;
