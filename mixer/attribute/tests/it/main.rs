//! How attributes travel.

mod cache;
mod decode;
mod encode;
mod fuzz;
mod hostile;
mod world;
