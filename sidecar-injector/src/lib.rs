//! What a pod gets to become part of the mesh.
//!
//! [`inject`] is pure: a pod, the mesh's settings and the installation's values go in, the patched pod comes out.
//! The webhook and `istioctl kube-inject` are thin shells around it, and so is the standalone mesh of `e2e`.

pub mod inject;
