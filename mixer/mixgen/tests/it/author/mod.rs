//! A day of somebody who writes adapters: `mixer/ADAPTERS.md`, typed as it stands.
//!
//! `cargo build -p mixer -p mixc -p mygrpcprint -p sampleprint` puts the other programs beside `mixgen`.

mod day;
mod endpoints;
mod guide;
mod machine;
