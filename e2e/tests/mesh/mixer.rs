//! Mixer in a mesh: `mixc` in a pod asks istio-policy and tells istio-telemetry, through the sidecar of the pod, as proxies do.
//!
//! What users apply comes to Mixer through Galley. The limits and lists are those of the book's chapters 11 and 12.

mod addons;
mod dashboards;
mod opa;
mod prometheus;
mod proxies;

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use e2e::mesh::Component;
use mesh_testing::loopback;
use serde_json::Value;

use crate::support::fixture::MIXER;
use crate::support::{TestMesh, rules};

/// Where proxies ask.
pub(crate) const POLICY: &str = "istio-policy.istio-system:9091";
/// Where proxies report.
pub(crate) const TELEMETRY: &str = "istio-telemetry.istio-system:9091";
const POD: &str = "sleep-0";

/// A request of the frontend to advertisement, as the proxy of advertisement sees it.
const REQUEST: [&str; 4] = [
    "-s",
    "context.protocol=http,context.reporter.kind=inbound,destination.namespace=weather",
    "--stringmap_attributes",
    "source.labels=app:frontend;version:v1,destination.labels=app:advertisement;version:v1",
];

/// Runs `mixc` in the pod; what it prints.
pub(crate) async fn mixc(mesh: &TestMesh, args: &[&str]) -> Result<String> {
    let command = ["mixc"].iter().chain(args).copied();
    let output = mesh.mesh().exec(POD, command).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}

/// The verdict about [`REQUEST`] and more attributes, which count more than those.
async fn verdict(mesh: &TestMesh, more: &[&str]) -> Result<String> {
    let said = mixc(mesh, &[&["check", "-m", POLICY][..], &REQUEST, more].concat()).await?;
    let line = said.lines().next().unwrap_or_default();
    let verdict = line.strip_prefix("Check RPC completed successfully. Check status was ");
    Ok(verdict.with_context(|| said.clone())?.to_owned())
}

/// Waits until the verdict about a request is another.
async fn eventually_verdict(mesh: &TestMesh, what: &str, more: &[&str], wanted: &str) {
    mesh.eventually(what, async || {
        let said = verdict(mesh, more).await?;
        ensure!(said == wanted, "{said}");
        Ok(())
    })
    .await;
}

/// Tells of a request, so many times.
async fn report(mesh: &TestMesh, times: usize, more: &[&str]) -> Result<()> {
    let times = times.to_string();
    let args = [
        "report",
        "-m",
        TELEMETRY,
        "-r",
        &times,
        "--report_batch_size",
        "2",
    ];
    mixc(mesh, &[&args[..], &REQUEST, more].concat()).await.map(drop)
}

/// A page of a component, by the name of a port.
async fn page(mesh: &TestMesh, component: Component, port: &str, path: &str) -> Result<String> {
    let state = mesh.mesh().state();
    let component = state.component(component.name()).context("no such component")?;
    let port = component.ports.get(port).context("no such port")?;
    loopback::exchange(*port, "GET", path, "").await
}

/// How often a metric has counted, over all labels.
async fn counted(mesh: &TestMesh, metric: &str) -> Result<f64> {
    let text = page(mesh, Component::Telemetry, "prometheus", "/metrics").await?;
    let start = format!("{metric}{{");
    let samples = text.lines().filter(|line| line.starts_with(&start));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(values.sum())
}

async fn eventually_counted(mesh: &TestMesh, metric: &str, wanted: f64) {
    mesh.eventually(&format!("{metric} is {wanted}"), async || {
        let counted = counted(mesh, metric).await?;
        ensure!((counted - wanted).abs() < 0.5, "it is {counted}");
        Ok(())
    })
    .await;
}

/// The configuration that a Mixer has.
async fn configuration(mesh: &TestMesh, component: Component) -> Result<Value> {
    let text = page(mesh, component, "http-monitoring", "/debug/configz").await?;
    Ok(serde_json::from_str(&text)?)
}

/// For which configuration a handler was built.
async fn built_for(mesh: &TestMesh, component: Component, handler: &str) -> Result<u64> {
    let configuration = configuration(mesh, component).await?;
    let mut running = configuration["running"].as_array().into_iter().flatten();
    let found = running.find(|running| running["name"] == handler);
    found
        .and_then(|running| running["configId"].as_u64())
        .with_context(|| format!("no {handler} in {configuration}"))
}

/// M26, M66, M24: a report through the sidecar moves the default metrics by exactly what was told.
#[test]
fn m24_m26_m66_what_is_reported_is_counted() {
    MIXER.run(async |mesh| {
        let before = counted(mesh, "istio_requests_total").await.expect("metrics");
        report(mesh, 7, &["-i", "response.code=200,request.size=10"])
            .await
            .expect("reported");
        eventually_counted(mesh, "istio_requests_total", before + 7.0).await;
        let text = page(mesh, Component::Telemetry, "prometheus", "/metrics")
            .await
            .expect("metrics");
        let line = text
            .lines()
            .filter(|line| {
                line.starts_with("istio_requests_total{") && line.contains("response_code=\"200\"")
            })
            // Other tests tell which service it is.
            .find(|line| line.contains("destination_service=\"unknown\""))
            .expect("a series");
        assert!(
            line.contains("source_app=\"frontend\"") && line.contains("destination_app=\"advertisement\""),
            "{line}"
        );
    });
}

/// M85 to M87 (F-12): what the blacklist refuses passes again when it is gone.
#[test]
fn m85_m86_m87_the_blacklist_of_the_book() {
    MIXER.run(async |mesh| {
        assert_eq!(verdict(mesh, &[]).await.expect("a verdict"), "OK");
        mesh.apply(&rules("mixer-rules/blacklist.yaml")).await;
        let denied = "PERMISSION_DENIED (denycustomerhandler.denier.weather:Not allowed)";
        eventually_verdict(mesh, "the frontend is refused", &[], denied).await;
        let other = ["--stringmap_attributes", "source.labels=app:recommendation"];
        assert_eq!(verdict(mesh, &other).await.expect("a verdict"), "OK");
        let elsewhere = ["-s", "destination.namespace=news"];
        assert_eq!(
            verdict(mesh, &elsewhere).await.expect("a verdict"),
            "OK",
            "rules of weather"
        );
        for (kind, name) in [
            ("rule", "denycustomer"),
            ("checknothing", "denycustomerrequests"),
            ("denier", "denycustomerhandler"),
        ] {
            mesh.mesh().delete(kind, "weather", name).await.expect("deleted");
        }
        eventually_verdict(mesh, "the frontend passes again", &[], "OK").await;
    });
}

/// M88 to M90 (F-13): who is not on the whitelist is told so.
#[test]
fn m88_m89_m90_the_whitelist_of_the_book() {
    MIXER.run(async |mesh| {
        mesh.apply(&rules("mixer-rules/whitelist.yaml")).await;
        let other = ["--stringmap_attributes", "source.labels=app:recommendation"];
        let denied = "PERMISSION_DENIED (whitelist.listchecker.weather:recommendation is not whitelisted)";
        eventually_verdict(mesh, "others are refused", &other, denied).await;
        // From outside of the mesh nothing is known of the caller.
        let unknown = ["--stringmap_attributes", "source.labels=pod:none"];
        let denied = "PERMISSION_DENIED (whitelist.listchecker.weather: is not whitelisted)";
        assert_eq!(verdict(mesh, &unknown).await.expect("a verdict"), denied);
        assert_eq!(verdict(mesh, &[]).await.expect("a verdict"), "OK");
        mesh.mesh()
            .delete("rule", "weather", "checkfromcustomer")
            .await
            .expect("deleted");
        eventually_verdict(mesh, "all pass again", &other, "OK").await;
    });
}

/// What is granted to so many requests, one after another, of a caller that has not called before.
async fn granted(mesh: &TestMesh, requests: usize, more: &[&str]) -> Result<Vec<i64>> {
    static CALLERS: AtomicUsize = AtomicUsize::new(0);
    let caller = CALLERS.fetch_add(1, Ordering::Relaxed);
    let caller = format!("source.labels=app:frontend-{caller}");
    let requests = requests.to_string();
    let args = ["check", "-m", POLICY, "-r", &requests, "-q", "requestcount=1"];
    let more = [&["--stringmap_attributes", &caller][..], more].concat();
    let said = mixc(mesh, &[&args[..], &REQUEST, &more].concat()).await?;
    let rows = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("requestcount"));
    rows.map(|row| {
        let amount = row.split_whitespace().next().context("no amount")?;
        Ok(amount.parse()?)
    })
    .collect()
}

/// M76, M77, M78, M79, M80 (F-11): four of five, and all of a tester's; the limiter stays the same when its rule changes.
#[test]
fn m76_m77_m78_m79_m80_the_limit_of_the_book() {
    const HANDLER: &str = "quotahandler.memquota.istio-system";
    const LIMITED: [i64; 5] = [1, 1, 1, 1, 0];
    MIXER.run(async |mesh| {
        let limited = async |what: &str, more: &[&str]| {
            mesh.eventually(what, async || {
                let granted = granted(mesh, 5, more).await?;
                ensure!(granted == LIMITED, "{granted:?}");
                Ok(())
            })
            .await;
        };
        assert_eq!(granted(mesh, 5, &[]).await.expect("granted"), [1; 5]);
        mesh.apply(&rules("mixer-rules/rate-limit.yaml")).await;
        limited("one of five is refused", &[]).await;
        let before = built_for(mesh, Component::Policy, HANDLER)
            .await
            .expect("it runs");

        mesh.apply(&rules("mixer-rules/rate-limit-testers.yaml")).await;
        let tester = ["--stringmap_attributes", "request.headers=cookie:user=tester"];
        let visitor = ["--stringmap_attributes", "request.headers=cookie:user=visitor"];
        let none = ["--stringmap_attributes", "request.headers=accept:all"];
        mesh.eventually("testers are not limited", async || {
            let granted = granted(mesh, 20, &tester).await?;
            ensure!(granted == [1; 20], "{granted:?}");
            Ok(())
        })
        .await;
        limited("visitors are", &visitor).await;
        limited("so is who has no cookie", &none).await;
        let after = built_for(mesh, Component::Policy, HANDLER)
            .await
            .expect("it runs");
        assert_eq!(after, before, "the handler is that of before");
    });
}

/// M15, M68 (F-10): a handler that comes and goes leaves the others with what they have counted.
#[test]
fn m15_m68_adapters_come_and_go_while_mixer_runs() {
    const DEFAULT: &str = "prometheus.handler.istio-system";
    MIXER.run(async |mesh| {
        report(mesh, 3, &[]).await.expect("reported");
        let before = counted(mesh, "istio_requests_total").await.expect("metrics");
        assert!(before >= 3.0);
        let built = built_for(mesh, Component::Telemetry, DEFAULT)
            .await
            .expect("it runs");
        let pid = |component: Component| {
            let state = mesh.mesh().state();
            state
                .component(component.name())
                .and_then(|component| component.pid)
        };
        let process = pid(Component::Telemetry);

        mesh.apply(&rules("mixer-rules/custom-metric.yaml")).await;
        let running =
            async || built_for(mesh, Component::Telemetry, "customermetrics.handler.istio-system").await;
        mesh.eventually("the handler runs", async || running().await.map(drop))
            .await;
        let request = ["-s", "request.method=GET,request.path=/ad,request.useragent=curl"];
        // What a handler of this name has counted before is kept for a while.
        let own = counted(mesh, "istio_customer_request_count")
            .await
            .expect("metrics");
        report(mesh, 2, &request).await.expect("reported");
        eventually_counted(mesh, "istio_customer_request_count", own + 2.0).await;
        eventually_counted(mesh, "istio_requests_total", before + 2.0).await;

        for (kind, name) in [("rule", "customermetrics"), ("handler", "customermetrics")] {
            mesh.mesh()
                .delete(kind, "istio-system", name)
                .await
                .expect("deleted");
        }
        mesh.eventually("the handler is gone", async || {
            ensure!(running().await.is_err(), "it runs");
            Ok(())
        })
        .await;
        report(mesh, 1, &request).await.expect("reported");
        eventually_counted(mesh, "istio_requests_total", before + 3.0).await;
        let after = built_for(mesh, Component::Telemetry, DEFAULT)
            .await
            .expect("it runs");
        assert_eq!((after, pid(Component::Telemetry)), (built, process));
    });
}

/// A Mixer that is killed is there again, with the configuration that was applied before.
#[test]
fn a_killed_mixer_is_back_with_its_configuration() {
    MIXER.run(async |mesh| {
        mesh.apply(&rules("mixer-rules/blacklist.yaml")).await;
        let denied = "PERMISSION_DENIED (denycustomerhandler.denier.weather:Not allowed)";
        eventually_verdict(mesh, "the frontend is refused", &[], denied).await;
        let restarts = |component: Component| {
            let state = mesh.mesh().state();
            let component = state.component(component.name()).expect("a component");
            (component.ready, component.restarts)
        };
        for component in [Component::Policy, Component::Telemetry] {
            let (_, before) = restarts(component);
            mesh.kill(component);
            mesh.eventually("it is back", async || {
                let now = restarts(component);
                ensure!(now == (true, before + 1), "{now:?}");
                Ok(())
            })
            .await;
        }
        eventually_verdict(mesh, "the frontend is refused again", &[], denied).await;
        mesh.eventually("reports are taken again", async || report(mesh, 1, &[]).await)
            .await;
    });
}

/// Both ports of both services lead to them: without a secured control plane 15004 is as plain as 9091.
#[test]
fn mixers_are_found_where_proxies_look_for_them() {
    MIXER.run(async |mesh| {
        for service in ["istio-policy", "istio-telemetry"] {
            for port in [9091, 15004] {
                let address = format!("{service}.istio-system:{port}");
                mesh.eventually(&address, async || {
                    mixc(mesh, &["check", "-m", &address]).await.map(drop)
                })
                .await;
            }
        }
        for component in [Component::Policy, Component::Telemetry] {
            let text = page(mesh, component, "http-monitoring", "/metrics")
                .await
                .expect("a page");
            assert!(text.contains("mixer_config_rule_configs_total"), "{text}");
            let errors = page(mesh, component, "http-monitoring", "/debug/errors")
                .await
                .expect("a page");
            assert_eq!(errors, "{\"errors\":[]}");
        }
    });
}
