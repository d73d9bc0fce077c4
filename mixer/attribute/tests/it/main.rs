//! How attributes travel.

mod decode;
mod hostile;
mod world;
