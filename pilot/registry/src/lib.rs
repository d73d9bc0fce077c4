//! Where services and configuration come from.
//!
//! The converters ([`kube`], [`service_entry`]) are pure: they turn foreign objects into [`pilot_model::Change`]s and know
//! nothing of how the objects arrive. The controllers around them do the I/O.

pub mod kube;
pub mod service_entry;
