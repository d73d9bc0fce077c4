//! What is installed into a cluster.
//!
//! `istio-init/files` holds the CustomResourceDefinitions as users apply them; [`crd`] makes them from the descriptors of our
//! messages, so that the API server, `kubectl explain` and our own decoder never disagree about a field.
//!
//! `istio` is the chart of the mesh, for Helm.
//!
//! Pure: whoever writes a file or talks to an API server does so itself.

pub mod crd;
