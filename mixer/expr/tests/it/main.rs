//! The language as a whole.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly anywhere")]

mod deep;
mod fuzz;
mod random;
mod table;
mod tracked;
