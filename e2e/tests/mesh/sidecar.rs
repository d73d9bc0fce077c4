//! What a Sidecar lets a workload reach, and where it lets others reach the workload.

use anyhow::ensure;

use crate::support::TestMesh;
use crate::support::fixture::SCOPES;
use crate::support::rule::object;

const FRONTEND: &str = "frontend-0";
const FORECAST: &str = "forecast-0";
const HEADLINES: &str = "http://headlines.news:3002/";

/// A Sidecar as one document of many.
fn sidecar(namespace: &str, name: &str, spec: &str) -> String {
    object("Sidecar", namespace, name, spec)
}

/// The app that answers a request from a pod, or the status when none does.
async fn who(mesh: &TestMesh, pod: &str, url: &str) -> String {
    match mesh.from(pod).get(url, &[]).await {
        Ok(answer) if answer.status == 200 => answer.header("x-sample-app").to_owned(),
        Ok(answer) => answer.status.to_string(),
        Err(_) => "nobody".to_owned(),
    }
}

#[test]
fn ex_57_a_namespace_reaches_what_it_imports_and_nothing_else() {
    SCOPES.run(async |mesh| {
        mesh.settle().await;
        for (url, app) in [
            (HEADLINES, "headlines"),
            ("http://forecast:3002/", "forecast"),
            ("http://advertisement:3003/", "advertisement"),
        ] {
            assert_eq!(who(mesh, FRONTEND, url).await, app);
        }
        let before = mesh.active_clusters(FRONTEND).await.expect("a number");
        let elsewhere = mesh.active_clusters("headlines-0").await.expect("a number");

        mesh.enforce(&sidecar(
            "weather",
            "default",
            "{egress: [{hosts: [istio-system/*, news/*]}]}",
        ))
        .await;
        for pod in [FRONTEND, FORECAST] {
            assert_eq!(who(mesh, pod, HEADLINES).await, "headlines");
            // A port that something imported has: the routes say what becomes of unknown hosts.
            assert_eq!(who(mesh, pod, "http://forecast:3002/").await, "404");
            // A port that nothing imported has.
            assert_eq!(who(mesh, pod, "http://advertisement:3003/").await, "nobody");
        }
        // Others reach the pods of the namespace as before.
        assert_eq!(
            who(mesh, "headlines-0", "http://forecast.weather:3002/").await,
            "forecast"
        );

        // frontend, forecast, advertisement and the service of coast.
        mesh.eventually("clusters are gone", async || {
            let after = mesh.active_clusters(FRONTEND).await?;
            ensure!(after == before - 4, "{after} of {before}");
            Ok(())
        })
        .await;
        assert_eq!(
            mesh.active_clusters("headlines-0").await.expect("a number"),
            elsewhere
        );
        let dump = mesh
            .admin(FRONTEND, "config_dump?include_eds")
            .await
            .expect("a dump");
        assert!(dump.contains("outbound|3002||headlines.news.svc.cluster.local"));
        assert!(!dump.contains("outbound|3002||forecast.weather.svc.cluster.local"));
        assert!(!dump.contains("forecast.coast"));

        mesh.withdraw("Sidecar", "weather", "default").await;
        assert_eq!(
            who(mesh, FRONTEND, "http://advertisement:3003/").await,
            "advertisement"
        );
    });
}

/// Under `ALLOW_ANY` what is not imported is reached as if it were outside of the mesh.
#[test]
fn ex_57_the_outbound_policy_decides_about_what_is_not_imported() {
    SCOPES.run(async |mesh| {
        mesh.enforce(
            &("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n\
               data: {mesh: \"rootNamespace: istio-system\"}\n"
                .to_owned()
                + &sidecar(
                    "weather",
                    "default",
                    "{egress: [{hosts: [istio-system/*, news/*]}]}",
                )),
        )
        .await;
        mesh.eventually("the policy is followed", async || {
            let found = who(mesh, FRONTEND, "http://advertisement:3003/").await;
            ensure!(found == "advertisement", "{found} answers");
            Ok(())
        })
        .await;
        // Nothing of the mesh is in it: no retries, no subsets, no rules.
        let dump = mesh.admin(FRONTEND, "config_dump").await.expect("a dump");
        assert!(!dump.contains("advertisement.weather"));
    });
}

#[test]
fn ex_58_only_selected_workloads_are_limited() {
    SCOPES.run(async |mesh| {
        mesh.enforce(&sidecar(
            "weather",
            "forecast",
            "{workloadSelector: {labels: {app: forecast}}, egress: [{hosts: ['./*', istio-system/*]}]}",
        ))
        .await;
        assert_eq!(
            who(mesh, FORECAST, "http://advertisement:3003/").await,
            "advertisement"
        );
        assert_eq!(who(mesh, FORECAST, HEADLINES).await, "404");
        assert_eq!(who(mesh, FRONTEND, HEADLINES).await, "headlines");

        // Labels decide, whenever they change.
        mesh.label("advertisement-0", "app", "forecast").await;
        mesh.eventually("the pod is limited", async || {
            let found = who(mesh, "advertisement-0", HEADLINES).await;
            ensure!(found == "404", "{found} answers");
            Ok(())
        })
        .await;
        mesh.label("advertisement-0", "app", "advertisement").await;
        mesh.eventually("the pod is free", async || {
            let found = who(mesh, "advertisement-0", HEADLINES).await;
            ensure!(found == "headlines", "{found} answers");
            Ok(())
        })
        .await;
    });
}

#[test]
fn ex_59_one_port_of_a_namespace_and_all_of_another() {
    SCOPES.run(async |mesh| {
        mesh.enforce(&sidecar(
            "news",
            "default",
            "{egress: [{hosts: [istio-system/*]},
              {port: {number: 3002, protocol: HTTP, name: http}, hosts: [weather/*]}]}",
        ))
        .await;
        let pod = "headlines-0";
        assert_eq!(who(mesh, pod, "http://forecast.weather:3002/").await, "forecast");
        assert_eq!(
            who(mesh, pod, "http://advertisement.weather:3003/").await,
            "nobody"
        );
        // The listener is about weather alone.
        assert_eq!(who(mesh, pod, "http://forecast.coast:3002/").await, "404");
        // istio-system is not restricted.
        let clusters = mesh.admin(pod, "clusters").await.expect("clusters");
        assert!(clusters.contains("outbound|9901||istio-galley.istio-system.svc.cluster.local"));
    });
}

/// The application asks the proxy itself, on a port that no service has.
#[test]
fn r_sc_6_an_egress_listener_without_capture_is_a_proxy_for_what_it_imports() {
    SCOPES.run(async |mesh| {
        mesh.enforce(&sidecar(
            "weather",
            "frontend",
            "{workloadSelector: {labels: {app: frontend}}, egress: [
              {port: {number: 8888, protocol: HTTP, name: http}, captureMode: NONE, hosts: [news/*, weather/*]},
              {hosts: [istio-system/*]}]}",
        ))
        .await;
        let caller = mesh.from(FRONTEND);
        for (host, app) in [("forecast:3002", "forecast"), ("headlines.news:3002", "headlines")] {
            let answer = caller
                .expect(200, "http://127.0.0.1:8888/", &[("host", host)])
                .await;
            assert_eq!(answer.header("x-sample-app"), app);
        }
        caller
            .expect(404, "http://127.0.0.1:8888/", &[("host", "forecast.coast:3002")])
            .await;
        assert_eq!(who(mesh, FRONTEND, "http://forecast:3002/").await, "nobody");
        assert!(
            mesh.mesh().connect(FRONTEND, 8888).await.is_err() || mesh.get_at(FRONTEND, 8888).await.is_err(),
            "others reach the listener"
        );
    });
}

#[test]
fn ex_60_the_proxy_listens_for_an_application_on_another_port() {
    SCOPES.run(async |mesh| {
        mesh.settle().await;
        for pod in ["captured-0", "bound-0"] {
            let answer = mesh.get_at(pod, 3002).await;
            assert!(
                answer.is_err() || answer.is_ok_and(|answer| answer.status == 503),
                "{pod} answers already"
            );
        }
        mesh.enforce(&sidecar(
            "coast",
            "forecast",
            "{workloadSelector: {labels: {app: forecast}},
              ingress: [{port: {number: 3002, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:3012', captureMode: NONE}],
              egress: [{hosts: ['./*', istio-system/*]}]}",
        ))
        .await;
        let pods = ["captured-0", "bound-0"];
        for pod in pods {
            mesh.eventually(&format!("the proxy of {pod} listens"), async || {
                let answer = mesh.get_at(pod, 3002).await?;
                ensure!(answer.status == 200 && answer.header("x-sample-pod") == pod, "{}", answer.status);
                ensure!(answer.header("server") == "istio-envoy", "{:?}", answer.headers);
                Ok(())
            })
            .await;
        }
        mesh.eventually("all pods of the service answer", async || {
            let tally = mesh.from(FRONTEND).pods(30, "http://forecast.coast:3002/", &[]).await;
            ensure!(pods.iter().all(|pod| tally.of(pod) > 0), "{:?}", tally.0);
            ensure!(pods.iter().map(|pod| tally.of(pod)).sum::<usize>() == 30, "{:?}", tally.0);
            Ok(())
        })
        .await;
    });
}
