//! Behaviour of the builder, the tables and the views.

mod builder;
mod clusters;
mod hold;
mod hold_order;
mod mesh;
mod order;
mod policies;
mod sidecars;
mod views;
mod without;
