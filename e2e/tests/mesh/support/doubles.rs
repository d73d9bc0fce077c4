//! Pods of the test double: what they saw, and how they are to answer.

use std::sync::{Mutex, PoisonError};

use e2e::sample::echo::{Behaviour, Control};
use hyper::{Method, Uri};
use serde::de::DeserializeOwned;

use super::TestMesh;
use super::caller::exchange;

/// Pods whose behaviour a test has changed.
pub(super) type Touched = Mutex<Vec<(String, u16)>>;

// === impl TestMesh ===

impl TestMesh {
    /// How many requests a pod of the test double has answered.
    pub(crate) async fn requests_of(&self, pod: &str, port: u16) -> u64 {
        let control: Control = self.control(Method::GET, pod, port, "").await;
        control.requests
    }

    /// The sum of [`Self::requests_of`].
    pub(crate) async fn requests_of_all(&self, pods: &[&str], port: u16) -> u64 {
        let mut requests = 0;
        for pod in pods {
            requests += self.requests_of(pod, port).await;
        }
        requests
    }

    /// Makes a pod of the test double answer differently, until the test is over.
    pub(crate) async fn behave(&self, pod: &str, port: u16, behaviour: Behaviour) {
        self.touched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((pod.to_owned(), port));
        let body = serde_json::to_string(&behaviour).expect("JSON");
        let _: Control = self.control(Method::POST, pod, port, &body).await;
    }

    /// Makes all pods answer as at first.
    pub(super) async fn behave_again(&self) {
        let touched = std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner));
        for (pod, port) in touched {
            // A pod that the test has replaced is new anyway.
            if self.mesh().state().pod(&pod).is_some_and(|pod| pod.ready) {
                let _: Control = self.control(Method::DELETE, &pod, port, "").await;
            }
        }
    }

    async fn control<T: DeserializeOwned>(&self, method: Method, pod: &str, port: u16, body: &str) -> T {
        let stream = self.mesh().connect(pod, port).await.expect("the pod accepts");
        let uri = Uri::from_static("http://control/control");
        let json = [("content-type", "application/json")];
        let answer = exchange(stream, method, &uri, &json, body)
            .await
            .expect("answered");
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).expect("what the test double says")
    }
}
