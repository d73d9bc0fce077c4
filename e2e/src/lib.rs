//! The standalone mesh, the sample application, the load tools and the end-to-end tests.

pub mod bench;
pub mod commands;
pub mod coverage;
pub mod images;
pub mod load;
pub mod mesh;
pub mod provision;
pub mod sample;
