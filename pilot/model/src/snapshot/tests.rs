//! Behaviour of the builder, the tables and the views.
