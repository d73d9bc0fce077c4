//! The standalone mesh from end to end: real Galley, Pilot, agents and Envoys.

mod failures;
mod seed_000;
mod seed_001;
mod support;
mod traffic;
