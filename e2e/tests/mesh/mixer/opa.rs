//! Policies in Rego, from Galley through Mixer to who asks.

use super::{eventually_verdict, verdict};
use crate::support::fixture::MIXER;
use crate::support::rules;

/// `spec 02` §7.11: what the policy allows passes, what it does not is refused, and all passes without it.
#[test]
fn spec_02_7_11_a_policy_in_rego_decides() {
    const DENIED: &str = "PERMISSION_DENIED (authz.weather:opa: request was rejected)";
    MIXER.run(async |mesh| {
        let post = ["-s", "request.method=POST,request.path=/ad/7"];
        assert_eq!(verdict(mesh, &post).await.expect("a verdict"), "OK");
        mesh.apply(&rules("mixer-rules/opa.yaml")).await;
        eventually_verdict(mesh, "v1 must not write", &post, DENIED).await;
        let labels = |labels: &'static str| ["--stringmap_attributes", labels];
        for (request, more, wanted) in [
            ("request.method=GET,request.path=/ad/7", None, "OK"),
            ("request.method=GET,request.path=/ad/x", None, DENIED),
            ("request.method=GET,request.path=/private", None, DENIED),
            (
                "request.method=POST,request.path=/ad",
                Some(labels("source.labels=app:frontend;version:v2")),
                "OK",
            ),
            (
                "request.method=GET,request.path=/ad",
                Some(labels("source.labels=app:stranger;version:v2")),
                DENIED,
            ),
            (
                "request.method=POST,request.path=/private",
                Some(labels("destination.labels=app:forecast")),
                "OK",
            ),
        ] {
            let args = [&["-s", request][..], more.as_ref().map_or(&[], |more| &more[..])].concat();
            let said = verdict(mesh, &args).await.expect("a verdict");
            assert_eq!(said, wanted, "{request} {more:?}");
        }
        mesh.mesh()
            .delete("rule", "weather", "authz")
            .await
            .expect("deleted");
        eventually_verdict(mesh, "everybody may write again", &post, "OK").await;
    });
}
