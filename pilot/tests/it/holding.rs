//! Pain 5: rules that change in the wrong order.

use mesh_api::type_url;
use mesh_config::Kind;
use mesh_testing::ads::node;
use serde_json::{Value, json};

use crate::envoy::Envoy;
use crate::galley::{Galley, forecast_at, forecast_to, new_service};
use crate::pilot::{FORECAST, FRONTEND, Pilot};

fn cluster(subset: &str) -> String {
    format!("outbound|3002|{subset}|forecast.weather.svc.cluster.local")
}

/// The rule of `forecast` with subsets that all select version `v1`.
fn declared(subsets: &[&str]) -> String {
    let subsets: Vec<String> = subsets
        .iter()
        .map(|name| format!("{{name: {name}, labels: {{version: v1}}}}"))
        .collect();
    format!(
        "{{apiVersion: networking.istio.io/v1alpha3, kind: DestinationRule, metadata: {{name: forecast, namespace: weather}},
           spec: {{host: forecast, subsets: [{}]}}}}",
        subsets.join(", ")
    )
}

/// What is reported as held, by object.
async fn held(pilot: &Pilot) -> Vec<(String, String)> {
    let status = pilot.json("/debug/push_status").await;
    let warnings = status["warnings"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    warnings
        .filter(|warning| warning["kind"] == "held")
        .map(|warning| (text(&warning["object"]), text(&warning["reason"])))
        .collect()
}

const HELD_ROUTE: &str = "pilot_held_objects{kind=\"VirtualService\"}";
const HELD_RULE: &str = "pilot_held_objects{kind=\"DestinationRule\"}";

#[tokio::test(flavor = "multi_thread")]
async fn pain_5_a_route_to_a_subset_that_is_declared_later() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    assert_eq!(pilot.metric(HELD_ROUTE).await, 0.0);
    galley.apply(&forecast_to("v3"));
    pilot.until_metric(HELD_ROUTE, 1.0).await;
    assert_eq!(
        held(&pilot).await,
        [(
            "VirtualService weather/forecast".to_owned(),
            "stays as it was: subset v3 of forecast.weather.svc.cluster.local is not declared by any DestinationRule"
                .to_owned()
        )]
    );
    // What the author wants is shown as it is.
    let objects = pilot.json("/debug/configz").await;
    let mut objects = objects.as_array().unwrap().iter();
    let wanted =
        objects.find(|object| object["kind"] == "VirtualService" && object["metadata"]["name"] == "forecast");
    let wanted = &wanted.unwrap()["spec"]["http"][0]["route"][0]["destination"];
    assert_eq!(wanted, &json!({"host": "forecast", "subset": "v3"}));

    // The first that the proxy hears of is the cluster.
    galley.apply(&declared(&["v1", "v3"]));
    envoy.expect("cds").await;
    assert!(envoy.has(type_url::CLUSTER, &cluster("v3")));
    assert!(envoy.route("3002").contains(&cluster("v1")));
    assert_eq!(envoy.expect("eds").await.names, [cluster("v3")]);
    assert_eq!(envoy.endpoints(&cluster("v3")), ["10.1.0.1:3002"]);
    envoy.expect("rds").await;
    assert!(envoy.route("3002").contains(&cluster("v3")));
    pilot.until_metric(HELD_ROUTE, 0.0).await;
    assert_eq!(held(&pilot).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_5_a_subset_that_leaves_before_its_route() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    let of_rule = [(
        "DestinationRule weather/forecast".to_owned(),
        "subset v1 of forecast.weather.svc.cluster.local stays as it was: VirtualService weather/forecast leads to it"
            .to_owned(),
    )];
    galley.apply(&declared(&["v3"]));
    envoy
        .until(|envoy| {
            envoy.has(type_url::CLUSTER, &cluster("v3")) && !envoy.has(type_url::CLUSTER, &cluster("v2"))
        })
        .await;
    pilot.until_metric(HELD_RULE, 1.0).await;
    assert_eq!(held(&pilot).await, of_rule);
    galley.remove(Kind::DestinationRule, "weather", "forecast");
    galley.publish();
    envoy
        .until(|envoy| !envoy.has(type_url::CLUSTER, &cluster("v3")))
        .await;
    assert_eq!(held(&pilot).await, of_rule);
    assert!(envoy.has(type_url::CLUSTER, &cluster("v1")));
    assert!(envoy.route("3002").contains(&cluster("v1")));

    // Its endpoints are those of now.
    galley.apply(&forecast_at(&["10.1.0.2"]));
    envoy.expect("eds").await;
    assert_eq!(envoy.endpoints(&cluster("v1")), Vec::<String>::new());

    // The route goes first, the cluster follows.
    galley.remove(Kind::VirtualService, "weather", "forecast");
    galley.publish();
    envoy
        .until(|envoy| !envoy.route("3002").contains(&cluster("v1")))
        .await;
    assert!(envoy.has(type_url::CLUSTER, &cluster("v1")));
    envoy
        .until(|envoy| !envoy.has(type_url::CLUSTER, &cluster("v1")))
        .await;
    pilot.until_metric(HELD_RULE, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_5_a_route_to_a_service_waits_for_the_endpoints() {
    let mut galley = Galley::start();
    let pilot = Pilot::of(&galley).await;
    let mut envoy = pilot.settled(FRONTEND).await;
    galley.apply(
        "{apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: forecast, namespace: weather},
          spec: {hosts: [forecast], http: [{route: [{destination: {host: outlook}}]}]}}",
    );
    pilot.until_metric(HELD_ROUTE, 1.0).await;
    let outlook = new_service("outlook", 3002);
    let (service, endpoints) = outlook.split_once("---").unwrap();
    let to = "\"outbound|3002||outlook.weather.svc.cluster.local\"";
    let follows = |route: String| route.matches(to).count() > 1;
    galley.apply(service);
    envoy.expect("cds").await;
    envoy.expect("eds").await;
    envoy.expect("rds").await;
    assert!(!follows(envoy.route("3002")), "{}", envoy.route("3002"));
    assert!(
        held(&pilot).await[0]
            .1
            .contains("endpoints of outlook.weather.svc.cluster.local are not known yet")
    );
    galley.apply(endpoints);
    assert_eq!(
        envoy.expect("eds").await.names,
        ["outbound|3002||outlook.weather.svc.cluster.local"]
    );
    envoy.expect("rds").await;
    assert!(follows(envoy.route("3002")), "{}", envoy.route("3002"));
    pilot.until_metric(HELD_ROUTE, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pain_5_no_publication_overtakes_the_routes_of_the_one_before() {
    let service = |name: &str| {
        let service = new_service(name, 3002);
        service.split_once("---").unwrap().0.to_owned()
    };
    let cluster = |name: &str| format!("outbound|3002||{name}.weather.svc.cluster.local");
    for delta in [false, true] {
        let mut galley = Galley::start();
        let pilot = Pilot::of(&galley).await;
        let mut quick = pilot.settled(FORECAST).await;
        let mut slow = match delta {
            false => pilot.envoy(FRONTEND).await,
            true => Envoy::delta(&pilot.xds(), node(FRONTEND, &json!({}))).await,
        };
        slow.settle().await;

        galley.apply(&service("outlook"));
        let clusters = slow.hear().await;
        // Endpoints go on, for it as well.
        galley.apply(&forecast_at(&["10.1.0.2"]));
        let of_forecast = slow.expect("eds").await.names;
        assert!(of_forecast.contains(&cluster("forecast")), "{of_forecast:?}");
        // The others hear of everything.
        galley.apply(&service("advertisement"));
        quick
            .until(|quick| quick.route("3002").contains(&cluster("advertisement")))
            .await;

        // It gets the routes of what it answers, and only then what came later.
        slow.take(&clusters).unwrap();
        assert!(slow.has(type_url::CLUSTER, &cluster("outlook")));
        assert_eq!(slow.expect("eds").await.names, [cluster("outlook")]);
        slow.expect("rds").await;
        assert!(slow.route("3002").contains(&cluster("outlook")));
        assert!(!slow.route("3002").contains(&cluster("advertisement")));
        slow.expect("cds").await;
        assert_eq!(slow.expect("eds").await.names, [cluster("advertisement")]);
        slow.expect("rds").await;
        assert!(slow.route("3002").contains(&cluster("advertisement")));
    }
}
