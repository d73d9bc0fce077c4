//! Texts of rules, as short as the book's.

/// The rule by which [`settle`](super::TestMesh::settle) sees how far a proxy is.
pub(crate) const MARK_URL: &str = "http://mark.example.com/";
/// Its host.
pub(crate) const MARK_HOST: &str = "mark.example.com";
/// Port of gateways that knows nothing but the mark.
pub(crate) const MARK_PORT: u16 = 15099;

/// A VirtualService of namespace `weather`; `spec` in YAML's flow style.
pub(crate) fn virtual_service(name: &str, spec: &str) -> String {
    object("VirtualService", "weather", name, spec)
}

/// A DestinationRule of namespace `weather`.
pub(crate) fn destination_rule(name: &str, spec: &str) -> String {
    object("DestinationRule", "weather", name, spec)
}

/// An Istio object, as one document of many.
pub(crate) fn object(kind: &str, namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1alpha3\nkind: {kind}\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// Makes all proxies redirect the host of the mark to a path that counts up.
pub(super) fn mark(mark: u64) -> String {
    let gateway = format!(
        "{{servers: [{{port: {{number: {MARK_PORT}, name: http, protocol: HTTP}}, hosts: [mark.example.com]}}]}}"
    );
    let rule = format!(
        "{{hosts: [mark.example.com], gateways: [mesh, mark], http: [{{redirect: {{uri: /{mark}}}}}]}}"
    );
    object("Gateway", "istio-system", "mark", &gateway)
        + &object("VirtualService", "istio-system", "mark", &rule)
}

/// Where a proxy redirects to that knows the mark.
pub(super) fn marked(mark: u64) -> String {
    format!("http://mark.example.com/{mark}")
}
