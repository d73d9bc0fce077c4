//! How attributes travel.

mod cache;
mod decode;
mod encode;
mod hostile;
mod world;
