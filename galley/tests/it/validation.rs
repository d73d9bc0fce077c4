//! The validation webhook at a real API server, as users meet it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admission;
mod certificates;
mod failure;
mod garbage;
mod registration;
mod site;
mod warnings;
