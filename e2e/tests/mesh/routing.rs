//! Which requests go where: conditions, their order, weights, names.

use e2e::load::Answer;

use crate::support::fixture::DOUBLES;
use crate::support::rule::{object, virtual_service};
use crate::support::{TestMesh, version};

const FRONTEND: &str = "frontend-v1-0";
const FORECAST: &str = "http://forecast:3002/";
const NORTH: &[(&str, &str)] = &[("location", "north")];

/// The rule of EX08: who comes from the north sees v2.
const NORTH_SEES_V2: &str = "{hosts: [forecast], http: [
  {match: [{headers: {location: {exact: north}}}], route: [{destination: {host: forecast, subset: v2}}]},
  {route: [{destination: {host: forecast, subset: v1}}]}]}";

/// Insists that requests from the frontend are answered by one version.
async fn assert_version(mesh: &TestMesh, expected: &str, url: &str, headers: &[(&str, &str)]) {
    let versions = mesh.from(FRONTEND).versions(4, url, headers).await;
    assert_eq!(
        versions.of(expected),
        4,
        "{url} {headers:?} is not {expected}: {:?}",
        versions.0
    );
}

/// `R-X-2`.
#[test]
fn ex_01_a_header_chooses_the_version_of_recommendation() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "recommendation",
            "{hosts: [recommendation], http: [
              {match: [{headers: {group: {exact: dev}}}], route: [{destination: {host: recommendation, subset: v2}}]},
              {route: [{destination: {host: recommendation, subset: v1}}]}]}",
        ))
        .await;
        let url = "http://recommendation:3005/";
        assert_version(mesh, "v2", url, &[("group", "dev")]).await;
        assert_version(mesh, "v1", url, &[("group", "developers")]).await;
        assert_version(mesh, "v1", url, &[]).await;
        // Whoever may call recommendation follows its rules.
        for caller in ["frontend-v2-0", "forecast-v2-0"] {
            let caller = mesh.from(caller);
            caller.versions(4, url, &[("group", "dev")]).await.assert_all("v2");
            caller.versions(4, url, &[]).await.assert_all("v1");
        }
    });
}

/// And all names of the service mean the same.
#[test]
fn ex_08_12_who_comes_from_the_north_sees_v2() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service("forecast", NORTH_SEES_V2)).await;
        for name in [
            "forecast",
            "forecast.weather",
            "forecast.weather.svc.cluster.local",
        ] {
            let url = format!("http://{name}:3002/");
            assert_version(mesh, "v2", &url, NORTH).await;
            assert_version(mesh, "v1", &url, &[("location", "northern")]).await;
            assert_version(mesh, "v1", &url, &[]).await;
        }
        // R-SCN-7: the rule holds for every caller alike.
        let versions = mesh
            .from("recommendation-v1-0")
            .versions(4, FORECAST, NORTH)
            .await;
        versions.assert_all("v2");
    });
}

#[test]
fn ex_09_all_conditions_of_a_match_must_hold() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [
              {match: [{headers: {source: {exact: north}}, uri: {prefix: /advertisement}}],
               route: [{destination: {host: forecast, subset: v2}}]},
              {route: [{destination: {host: forecast, subset: v1}}]}]}",
        ))
        .await;
        let advertisement = "http://forecast:3002/advertisement/1";
        assert_version(mesh, "v2", advertisement, &[("source", "north")]).await;
        assert_version(mesh, "v1", advertisement, &[]).await;
        assert_version(mesh, "v1", FORECAST, &[("source", "north")]).await;
    });
}

#[test]
fn ex_10_labels_of_the_caller_are_a_condition() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [
              {match: [{sourceLabels: {app: frontend, version: v2}}], route: [{destination: {host: forecast, subset: v2}}]},
              {route: [{destination: {host: forecast, subset: v1}}]}]}",
        ))
        .await;
        assert_version(mesh, "v1", FORECAST, &[]).await;
        mesh.from("frontend-v2-0")
            .versions(4, FORECAST, &[])
            .await
            .assert_all("v2");
        // The rule is in the configuration of the frontend's v2 and nowhere else.
        let v2 = "outbound|3002|v2|forecast";
        for (pod, expected) in [("frontend-v2-0", true), ("frontend-v1-0", false), ("recommendation-v2-0", false)] {
            let routes = mesh
                .admin(pod, "config_dump?resource=dynamic_route_configs")
                .await
                .expect("routes");
            assert_eq!(routes.contains(v2), expected, "{pod}");
        }
    });
}

#[test]
fn ex_11_one_of_several_matches_suffices() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [
              {match: [{headers: {source: {exact: north}}, uri: {prefix: /advertisement}}, {uri: {prefix: /forecast}}],
               route: [{destination: {host: forecast, subset: v2}}]},
              {route: [{destination: {host: forecast, subset: v1}}]}]}",
        ))
        .await;
        assert_version(mesh, "v2", "http://forecast:3002/advertisement", &[("source", "north")]).await;
        assert_version(mesh, "v2", "http://forecast:3002/forecast", &[]).await;
        assert_version(mesh, "v1", "http://forecast:3002/advertisement", &[]).await;
        assert_version(mesh, "v1", "http://forecast:3002/", &[("source", "north")]).await;
    });
}

/// EX13: a short name belongs to the namespace of its rule. EX14: a full one means the same everywhere.
#[test]
fn ex_13_14_short_names_belong_to_the_namespace_of_the_rule() {
    DOUBLES.run(async |mesh| {
        let rule = |destination: &str| {
            object(
                "VirtualService",
                "default",
                "forecast",
                &format!(
                    "{{hosts: [forecast.weather.svc.cluster.local], http: [{{route: [{{destination: {{host: {destination}, subset: v1}}}}]}}]}}"
                ),
            )
        };
        // There is no forecast in namespace default.
        mesh.enforce(&rule("forecast")).await;
        mesh.from(FRONTEND).expect(503, FORECAST, &[]).await;
        mesh.enforce(&rule("forecast.weather.svc.cluster.local")).await;
        assert_version(mesh, "v1", FORECAST, &[]).await;
    });
}

/// EX15: the weights say how many, whatever is in the requests and however many pods there are (R-SCN-10).
/// EX16: a single destination needs no weight.
#[test]
fn ex_15_16_weights_split_requests() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{route: [
              {destination: {host: forecast, subset: v2}, weight: 20},
              {destination: {host: forecast, subset: v1}, weight: 80}]}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        // Three standard deviations of 600 draws at 20 % are 4.9 %; five are 8.2 %.
        let versions = caller.at_once(8, 600, FORECAST, NORTH, version).await;
        versions.assert_share("v2", 12..=28, &["v1"]);

        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{route: [
              {destination: {host: forecast, subset: v1}, weight: 97},
              {destination: {host: forecast, subset: v2}, weight: 3}]}]}",
        ))
        .await;
        let versions = caller.at_once(8, 600, FORECAST, &[], version).await;
        versions.assert_share("v1", 92..=99, &["v2"]);

        mesh.enforce(&virtual_service(
            "forecast",
            "{hosts: [forecast], http: [{route: [{destination: {host: forecast, subset: v1}}]}]}",
        ))
        .await;
        assert_version(mesh, "v1", FORECAST, &[]).await;
    });
}

/// R-SCN-14 too: a host without a service composes several.
#[test]
fn ex_28_a_host_without_service_composes_services() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "weather",
            "{hosts: [weather.com], http: [
              {match: [{uri: {prefix: /recommendation}}], route: [{destination: {host: recommendation}}]},
              {match: [{uri: {prefix: /forecast}}], route: [{destination: {host: forecast}}]},
              {match: [{uri: {prefix: /advertisement}}], route: [{destination: {host: advertisement}}]},
              {route: [{destination: {host: frontend}}]}]}",
        ))
        .await;
        let app = |answer: &Answer| answer.header("x-sample-app").to_owned();
        for (path, expected) in [
            ("forecast", "forecast"),
            ("recommendation/1", "recommendation"),
            ("advertisement?x=1", "advertisement"),
            ("", "frontend"),
        ] {
            let url = format!("http://weather.com/{path}");
            mesh.from(FRONTEND)
                .tally(2, &url, &[], app)
                .await
                .assert_all(expected);
        }
    });
}

#[test]
fn ex_29_the_first_match_wins() {
    DOUBLES.run(async |mesh| {
        let data = "{match: [{uri: {prefix: /weather/data/}}], route: [{destination: {host: forecast, subset: v3}}]}";
        let weather = "{match: [{uri: {prefix: /weather/}}], route: [{destination: {host: forecast, subset: v2}}]}";
        let rest = "{route: [{destination: {host: forecast, subset: v1}}]}";
        let [deep, shallow, other] = ["weather/data/x", "weather/x", "x"].map(|path| format!("{FORECAST}{path}"));
        let rule = |first, second| {
            virtual_service("forecast", &format!("{{hosts: [forecast], http: [{first}, {second}, {rest}]}}"))
        };
        mesh.enforce(&rule(data, weather)).await;
        assert_version(mesh, "v3", &deep, &[]).await;
        assert_version(mesh, "v2", &shallow, &[]).await;
        assert_version(mesh, "v1", &other, &[]).await;
        // The other way round v3 is never reached.
        mesh.enforce(&rule(weather, data)).await;
        assert_version(mesh, "v2", &deep, &[]).await;
        assert_version(mesh, "v2", &shallow, &[]).await;
        assert_version(mesh, "v1", &other, &[]).await;
    });
}

#[test]
fn ex_30_cookie_and_path_or_path_split_by_weight() {
    DOUBLES.run(async |mesh| {
        mesh.enforce(&virtual_service(
            "forecast",
            r#"{hosts: [forecast], http: [
              {match: [{headers: {cookie: {regex: "^(.*?;)?(local=north)(;.*)?"}}, uri: {prefix: /weather}}, {uri: {prefix: /data}}],
               route: [{destination: {host: forecast, subset: v2}, weight: 20}, {destination: {host: forecast, subset: v3}, weight: 80}]},
              {route: [{destination: {host: forecast, subset: v1}}]}]}"#,
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        let [weather, data] = ["weather", "data/1"].map(|path| format!("{FORECAST}{path}"));
        for (url, cookie) in [(&weather, "a=b;local=north;c=d"), (&data, "none=at all")] {
            let versions = caller.at_once(8, 300, url, &[("cookie", cookie)], version).await;
            versions.assert_share("v2", 10..=30, &["v3"]);
        }
        assert_version(mesh, "v1", &weather, &[]).await;
        assert_version(mesh, "v1", &weather, &[("cookie", "local=south")]).await;
        assert_version(mesh, "v1", FORECAST, &[("cookie", "local=north")]).await;
    });
}

/// EX02 and EX03: the name of a port decides whether HTTP rules apply to it.
#[test]
fn ex_02_03_the_name_of_a_port_decides_about_http_rules() {
    DOUBLES.run(async |mesh| {
        let service = |port: &str| {
            format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: plain, namespace: weather}}\n\
                 spec: {{ports: [{{{port}port: 3902, targetPort: 3002}}], selector: {{app: forecast}}}}\n"
            )
        };
        let rule = virtual_service(
            "plain",
            "{hosts: [plain], http: [{route: [{destination: {host: forecast, subset: v3}}]}]}",
        );
        let url = "http://plain:3902/";
        mesh.enforce(&(service("") + &rule)).await;
        // As bytes: all versions answer, and no proxy has touched the answer.
        let versions = mesh.from(FRONTEND).versions(24, url, &[]).await;
        assert!(versions.of("v1") > 0 && versions.of("v2") > 0, "{:?}", versions.0);
        mesh.enforce(&service("name: http, ")).await;
        assert_version(mesh, "v3", url, &[]).await;
    });
}
