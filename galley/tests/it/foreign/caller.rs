//! `ResourceSource`: the sink calls (G2, G3.1).

use prost::Message as _;

use super::wire::{MeshConfig, RequestResources, Resources, SinkNode, Status};
use super::{Ends, GATEWAYS, SIDECARS, channel, open};
use crate::harness::{ConfigDir, Galley, gateway, within};

type Sink = Ends<RequestResources, Resources>;

const PATH: &str = "/istio.mcp.v1alpha1.ResourceSource/EstablishResourceStream";

async fn connect(galley: &Galley) -> Sink {
    open(channel(galley.mcp).await, PATH).await.unwrap()
}

fn subscription(collection: &str) -> RequestResources {
    RequestResources {
        sink_node: Some(SinkNode {
            id: "foreign".to_owned(),
            annotations: [("zone".to_owned(), "a".to_owned())].into(),
        }),
        collection: collection.to_owned(),
        ..RequestResources::default()
    }
}

fn ack(response: &Resources) -> RequestResources {
    RequestResources {
        collection: response.collection.clone(),
        response_nonce: response.nonce.clone(),
        incremental: response.incremental,
        ..RequestResources::default()
    }
}

fn nack(response: &Resources) -> RequestResources {
    RequestResources {
        error_detail: Some(Status {
            code: 3,
            message: "not to my taste".to_owned(),
        }),
        ..ack(response)
    }
}

fn names(response: &Resources) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(super::wire::Resource::name)
        .collect()
}

#[tokio::test]
async fn g2_full_states_are_sent_acknowledged_refused_and_replaced() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let galley = Galley::start(config.path());
    let mut sink = connect(&galley).await;
    sink.send(subscription(GATEWAYS));
    let first = sink.next().await;
    assert_eq!(
        (first.collection.as_str(), names(&first)),
        (GATEWAYS, vec!["weather/a"])
    );
    assert!(!first.incremental && first.removed_resources.is_empty());
    let resource = &first.resources[0];
    let metadata = resource.metadata.as_ref().unwrap();
    assert!(metadata.create_time.is_some_and(|time| time.seconds > 0));
    assert!(metadata.labels.is_empty() && metadata.annotations.is_empty());
    let body = resource.body.as_ref().unwrap();
    assert_eq!(
        body.type_url,
        "type.googleapis.com/istio.networking.v1alpha3.Gateway"
    );
    assert!(!body.value.is_empty() && !resource.version().is_empty());
    sink.send(ack(&first));

    // An empty collection is answered, too: sinks wait for each (P5.4).
    sink.send(subscription(SIDECARS));
    let none = sink.next().await;
    assert_eq!(
        (
            none.collection.as_str(),
            none.system_version_info.as_str(),
            none.resources.len()
        ),
        (SIDECARS, "0", 0)
    );
    let nonces: Vec<u64> = [&first, &none].map(|r| r.nonce.parse().unwrap()).into();
    assert!(nonces[0] < nonces[1], "a counter per stream: {nonces:?}");
    sink.send(ack(&none));

    // A change; it is refused, and nothing comes again before there is something newer (G3.1).
    config.write("a.yaml", gateway("a", 81));
    let second = sink.next().await;
    assert_eq!(names(&second), ["weather/a"]);
    assert_ne!(second.system_version_info, first.system_version_info);
    assert_ne!(second.resources[0].version(), resource.version());
    sink.send(nack(&second));
    sink.send(ack(&first));
    sink.send(subscription("istio/rbac/v1alpha1/serviceroles"));
    let other = sink.next().await;
    assert_eq!(other.collection, "istio/rbac/v1alpha1/serviceroles");
    config.write("a.yaml", gateway("a", 81) + &gateway("b", 82));
    let third = sink.next().await;
    assert_eq!(names(&third), ["weather/a", "weather/b"]);
    sink.send(ack(&third));

    // The source shows what was said.
    let page = within("the answers", async || {
        let page = galley.json("/debug/mcp").await["connections"][0].clone();
        (page["watches"][GATEWAYS]["acks"] == 2).then_some(page)
    })
    .await;
    let watch = &page["watches"][GATEWAYS];
    assert_eq!(
        (&page["node"], &watch["nacks"], &watch["stale"]),
        (&"foreign".into(), &1.into(), &1.into())
    );
    let nacks = format!(
        "galley_mcp_source_request_nacks_total{{code=\"InvalidArgument\",collection=\"{GATEWAYS}\"}}"
    );
    assert_eq!(galley.metric(&nacks).await, 1.0);
}

#[tokio::test]
async fn g2_changes_are_sent_to_who_asks_for_them_and_says_what_it_has() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80) + &gateway("b", 80) + &gateway("c", 80));
    let galley = Galley::start(config.path());
    let mut sink = connect(&galley).await;
    let wanted = RequestResources {
        incremental: true,
        ..subscription(GATEWAYS)
    };
    sink.send(wanted.clone());
    let first = sink.next().await;
    assert_eq!(names(&first), ["weather/a", "weather/b", "weather/c"]);
    sink.send(RequestResources {
        incremental: true,
        ..ack(&first)
    });
    config.write("a.yaml", gateway("b", 80) + &gateway("c", 81) + &gateway("d", 80));
    let second = sink.next().await;
    assert!(second.incremental);
    assert_eq!(
        (names(&second), second.removed_resources.clone()),
        (vec!["weather/c", "weather/d"], vec!["weather/a".to_owned()])
    );
    sink.send(ack(&second));
    drop(sink);

    // After a loss the sink says what it has, and is told the rest.
    config.write("a.yaml", gateway("b", 80) + &gateway("c", 82));
    let mut has: std::collections::BTreeMap<String, String> = first
        .resources
        .iter()
        .chain(&second.resources)
        .map(|resource| (resource.name().to_owned(), resource.version().to_owned()))
        .collect();
    has.remove("weather/a");
    let newest = within("the change", async || {
        let page = galley
            .json(&format!("/debug/configz?collection={GATEWAYS}"))
            .await;
        (page[0]["objects"].as_array()?.len() == 2).then_some(page[0]["version"].clone())
    })
    .await;
    let mut sink = connect(&galley).await;
    sink.send(RequestResources {
        initial_resource_versions: has,
        ..wanted
    });
    let third = sink.next().await;
    assert_eq!(newest, third.system_version_info.as_str());
    assert!(third.incremental);
    assert_eq!(
        (names(&third), third.removed_resources.clone()),
        (vec!["weather/c"], vec!["weather/d".to_owned()])
    );
}

/// `G6.3`: for who asks, the mesh configuration is a collection like others; a file that cannot be read takes nothing away.
#[tokio::test]
async fn g6_3_the_mesh_configuration_is_delivered_as_a_collection() {
    let class = |response: &Resources| {
        assert_eq!(names(response), ["istio-system/meshconfig"]);
        let body = response.resources[0].body.as_ref().unwrap();
        assert_eq!(
            body.type_url,
            "type.googleapis.com/istio.mesh.v1alpha1.MeshConfig"
        );
        MeshConfig::decode(&*body.value).unwrap().ingress_class
    };
    let (config, mesh) = (ConfigDir::new(), ConfigDir::new());
    let file = mesh.write("mesh", "ingressClass: first\n");
    let flag = format!("--meshConfigFile={}", file.display());
    let galley = Galley::start_with(config.path(), "127.0.0.1:0", &[&flag]);
    let mut sink = connect(&galley).await;
    sink.send(subscription("istio/mesh/v1alpha1/MeshConfig"));
    let first = sink.next().await;
    assert_eq!(class(&first), "first");
    sink.send(ack(&first));

    mesh.replace("mesh", "ingressClass: [\n");
    within("the fault", async || {
        let errors = galley.errors().await;
        errors.into_iter().find(|row| row["object"] == "MeshConfig")
    })
    .await;
    mesh.replace("mesh", "ingressClass: second\n");
    let second = sink.next().await;
    assert_eq!(class(&second), "second");
    assert_ne!(second.system_version_info, first.system_version_info);
    assert_ne!(second.resources[0].version(), first.resources[0].version());
}

#[tokio::test]
async fn pain_18_a_newer_sink_gets_all_that_this_galley_has() {
    let config = ConfigDir::new();
    config.write("a.yaml", gateway("a", 80));
    let galley = Galley::start(config.path());
    let mut sink = connect(&galley).await;
    let newer = "istio/networking/v1beta7/inventions";
    for collection in [newer, GATEWAYS] {
        sink.send(subscription(collection));
        let response = sink.next().await;
        assert_eq!(response.collection, collection);
        assert_eq!(response.resources.len(), usize::from(collection == GATEWAYS));
        sink.send(ack(&response));
    }
    let said = |line: &serde_json::Value| line["collection"] == newer && line["level"] == "info";
    galley.log_line("unknown collection", said).await;
    config.write("a.yaml", gateway("a", 81));
    assert_eq!(sink.next().await.collection, GATEWAYS);
    assert_eq!(galley.log_lines(said), 1);
}
