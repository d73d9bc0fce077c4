//! Behaviour of the Kubernetes registry.
