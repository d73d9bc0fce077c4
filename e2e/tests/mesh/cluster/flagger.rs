//! Flagger, the real one: a controller that releases a version step by step, as long as Mixer's metrics say that it is good.
//!
//! ```text
//! frontend ─► Envoys ─access logs─► Mixer ◄─scrapes─ Prometheus ◄─queries─ Flagger ─VirtualService─► API server ─► Pilot ─► Envoys
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::load::Answer;
use kube::Client;
use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersionKind};
use mesh_testing::provision;
use serde_json::{Value, json};

use super::FRONTEND;
use super::support::{kubectl, nested, server};
use crate::support::{Tally, TestMesh, prometheus};

const AD: &str = "http://ad:3003/ad";

/// Longer than any step takes on a busy machine. Flagger looks every ten seconds.
const PATIENCE: Duration = Duration::from_secs(180);

/// Between two requests of the loop. The book has a second, with longer intervals.
const PERIOD: Duration = Duration::from_millis(50);

/// Requests by which the share of a version is measured, and how far it may be off, in percent: four standard deviations.
const REQUESTS: usize = 200;
const TOLERANCE: u64 = 15;

/// The kinds that are looked at: group, version and name.
const CANARY: [&str; 3] = ["flagger.app", "v1beta1", "Canary"];
const DEPLOYMENT: [&str; 3] = ["apps", "v1", "Deployment"];
const SERVICE: [&str; 3] = ["", "v1", "Service"];
const VIRTUAL_SERVICE: [&str; 3] = ["networking.istio.io", "v1alpha3", "VirtualService"];

/// What Flagger tells of a release that is good, in this order. Of the events of one object Kubernetes' client library
/// combines the tenth and all that follow: the last of them stays.
const GOOD: [&str; 10] = [
    "New revision detected! Scaling up ad.weather",
    "Starting canary analysis for ad.weather",
    "Advance ad.weather canary weight 20",
    "Advance ad.weather canary weight 40",
    "Advance ad.weather canary weight 60",
    "Advance ad.weather canary weight 80",
    "Advance ad.weather canary weight 100",
    "Copying ad.weather template spec to ad-primary.weather",
    "Routing all traffic to primary",
    "Promotion completed! Scaling down ad.weather",
];

/// A service that is released by Flagger.
struct Release<'a> {
    mesh: &'a TestMesh,
    client: Client,
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/mesh/cluster/flagger")
        .join(name)
}

async fn apply(mesh: &TestMesh, path: &Path) {
    kubectl(mesh, &["apply", "-f", &path.display().to_string()]).await;
}

/// What runs on another thread, since it may take minutes the first time.
async fn provided(provide: fn() -> Result<PathBuf>) -> PathBuf {
    let provided = tokio::task::spawn_blocking(provide);
    provided.await.expect("it does not panic").expect("provided")
}

/// `helm install`: the definitions of Flagger's kinds and its account as its release has them, and the program in a pod.
async fn install(mesh: &TestMesh) -> Result<()> {
    let program = provided(provision::flagger).await;
    let manifests = std::fs::read_to_string(provided(provision::flagger_manifests).await)?;
    let manifests = manifests.replace("namespace: default", "namespace: istio-system");
    server(mesh).apply(&manifests).await?;
    let kinds =
        ["canaries", "metrictemplates", "alertproviders"].map(|kind| format!("crd/{kind}.flagger.app"));
    let wait = ["wait", "--for=condition=established", "--timeout=60s"];
    let kinds = kinds.iter().map(String::as_str);
    kubectl(mesh, &wait.into_iter().chain(kinds).collect::<Vec<_>>()).await;

    let address = [
        "get",
        "nodes",
        "-o",
        "jsonpath={.items[0].status.addresses[0].address}",
    ];
    let address = kubectl(mesh, &address).await;
    let admin = server(mesh).admin();
    let account = admin.as_service_account("istio-system", "flagger").await?;
    let account = account.at(&format!("https://{address}:6443"))?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "flagger", "namespace": "istio-system"},
        "stringData": {"kubeconfig": std::fs::read_to_string(account.kubeconfig())?}
    });
    server(mesh).apply(&secret.to_string()).await?;
    let flagger = std::fs::read_to_string(file("flagger.yaml"))?;
    let flagger = flagger.replace("PROGRAM", &program.display().to_string());
    server(mesh).apply(&flagger).await?;
    Ok(())
}

fn assert_in_order<'a>(text: &str, parts: impl IntoIterator<Item = &'a &'a str>) {
    parts.into_iter().fold(text, |rest, part| {
        let (_, after) = rest.split_once(*part).unwrap_or_else(|| panic!("{part}: {text}"));
        after
    });
}

// === impl Release ===

impl Release<'_> {
    async fn eventually(&self, what: &str, condition: impl AsyncFnMut() -> Result<()>) {
        if let Err(error) = mesh_testing::eventually(PATIENCE, condition).await {
            panic!("{what}: {error}\n{}", self.mesh.log("flagger-0"));
        }
    }

    /// An object of the namespace.
    async fn object(&self, [group, version, kind]: [&str; 3], name: &str) -> Result<Value> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), "weather", &kind);
        Ok(serde_json::to_value(objects.get(name).await?)?)
    }

    /// `kubectl set image`.
    async fn set_image(&self, version: &str) {
        let image = format!("ad=istioweather/advertisement:{version}");
        kubectl(
            self.mesh,
            &["-n", "weather", "set", "image", "deployment/ad", &image],
        )
        .await;
    }

    /// The image that a deployment is to run.
    async fn image(&self, deployment: &str) -> Result<String> {
        let deployment = self.object(DEPLOYMENT, deployment).await?;
        let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
        Ok(image.as_str().context("no image")?.to_owned())
    }

    async fn eventually_phase(&self, wanted: &str) {
        self.eventually(&format!("the canary is {wanted}"), async || {
            let canary = self.object(CANARY, "ad").await?;
            ensure!(canary["status"]["phase"] == wanted, "{}", canary["status"]);
            Ok(())
        })
        .await;
    }

    /// What the VirtualService gives to the primary, and to the canary.
    async fn weights(&self) -> Result<[u64; 2]> {
        let rule = self.object(VIRTUAL_SERVICE, "ad").await?;
        let of = |host: &str| {
            let mut routes = nested(&rule["spec"]["http"][0]["route"]);
            let route = routes.find(|route| route["destination"]["host"] == host);
            let weight = route.context("no such destination")?;
            anyhow::Ok(weight["weight"].as_u64().unwrap_or_default())
        };
        Ok([of("ad-primary")?, of("ad-canary")?])
    }

    async fn eventually_weights(&self, wanted: [u64; 2]) {
        self.eventually(&format!("weights are {wanted:?}"), async || {
            let weights = self.weights().await?;
            ensure!(weights == wanted, "{weights:?}");
            Ok(())
        })
        .await;
    }

    /// How many percent of the answers are of a version while the caller's Envoy splits by these weights; `None` when Flagger
    /// has gone on meanwhile.
    async fn share(&self, weights: [u64; 2], new: &str) -> Option<u64> {
        self.eventually("the Envoy of the frontend follows", async || {
            if self.weights().await? != weights {
                return Ok(());
            }
            match weights {
                // Of one destination there is no weight.
                [_, 100] => self.mesh.has_no_weights(FRONTEND).await,
                _ => self.mesh.has_weights(FRONTEND, &weights).await,
            }
        })
        .await;
        let tally = self.mesh.from(FRONTEND).versions(REQUESTS, AD, &[]).await;
        let percent = 100 * tally.of(new) / REQUESTS;
        let stayed = self.weights().await.expect("a VirtualService") == weights;
        stayed.then(|| u64::try_from(percent).unwrap_or_default())
    }

    /// Whether the temporary pods are gone, and everything is answered by the primary, which has this version.
    async fn is_over(&self, primary: &str) {
        self.eventually_weights([100, 0]).await;
        self.eventually("the temporary pods are gone", async || {
            let deployment = self.object(DEPLOYMENT, "ad").await?;
            let left = deployment["status"]["replicas"].as_u64().unwrap_or_default();
            ensure!(
                deployment["spec"]["replicas"] == 0 && left == 0,
                "{left} are left"
            );
            ensure!(self.mesh.mesh().state().pod("ad-0").is_none(), "it ends");
            Ok(())
        })
        .await;
        let image = self.image("ad-primary").await.expect("a deployment");
        assert_eq!(image, format!("istioweather/advertisement:{primary}"));
        let good = format!("{primary} 200");
        self.eventually("the primary answers everything", async || {
            let tally = self.answers(50).await;
            ensure!(tally.of(&good) == tally.total(), "{tally:?}");
            Ok(())
        })
        .await;
    }

    /// Answers by version and status.
    async fn answers(&self, requests: usize) -> Tally {
        let class = |answer: &Answer| format!("{} {}", answer.header("x-sample-version"), answer.status);
        self.mesh.from(FRONTEND).tally(requests, AD, &[], class).await
    }

    /// The loop of the book in the frontend: metrics need traffic.
    async fn traffic(&self) {
        loop {
            // What comes back is looked at elsewhere: before the service exists, nothing does.
            drop(self.mesh.from(FRONTEND).get(AD, &[]).await);
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// A deployment and a Canary: Flagger makes what a release needs.
    async fn begin(&self) {
        apply(self.mesh, &file("ad-deployment.yaml")).await;
        let rollout = [
            "-n",
            "weather",
            "rollout",
            "status",
            "deployment/ad",
            "--timeout=120s",
        ];
        kubectl(self.mesh, &rollout).await;
        apply(self.mesh, &file("auto-canary.yaml")).await;
        self.eventually("the objects are made", async || {
            let generated = [
                (DEPLOYMENT, "ad-primary"),
                (SERVICE, "ad"),
                (SERVICE, "ad-canary"),
                (SERVICE, "ad-primary"),
                (VIRTUAL_SERVICE, "ad"),
            ];
            for (kind, name) in generated {
                let object = self.object(kind, name).await.with_context(|| name.to_owned())?;
                let owner = &object["metadata"]["ownerReferences"][0];
                ensure!(
                    owner["kind"] == "Canary" && owner["name"] == "ad",
                    "{name}: {owner}"
                );
            }
            Ok(())
        })
        .await;
        self.eventually_phase("Initialized").await;
        self.is_over("v1").await;
    }

    /// A good version gets more and more, and then it is the primary.
    async fn release(&self) {
        self.set_image("v2").await;
        let mut measured = Vec::new();
        for canary in [20, 40, 60, 80, 100] {
            let weights = [100 - canary, canary];
            self.eventually_weights(weights).await;
            if let Some(share) = self.share(weights, "v2").await {
                assert!(share.abs_diff(canary) <= TOLERANCE, "{share} % of {canary}");
                measured.push((canary, share));
            }
        }
        eprintln!("weights of v2 and its share of {REQUESTS} answers: {measured:?}");
        assert!(
            !measured.is_empty(),
            "no step lasted as long as {REQUESTS} requests"
        );
        let told = "istio_requests_total{reporter=\"destination\",source_workload=\"frontend-v1\",\
                    destination_workload=\"ad\",destination_service_name=\"ad-canary\"}";
        let told = prometheus::query(self.mesh, told).await.expect("metrics");
        assert!(!told.is_empty(), "the sidecar of the canary reports");
        self.eventually_phase("Succeeded").await;
        self.is_over("v2").await;
        let described = kubectl(self.mesh, &["-n", "weather", "describe", "canary", "ad"]).await;
        let (_, events) = described.split_once("Events:").expect("events");
        let [before @ .., _, _, last] = GOOD;
        assert_in_order(events, before.iter().chain([&last]));
        assert_in_order(&self.mesh.log("flagger-0"), &GOOD);
    }

    /// A version that fails half of its requests is taken back.
    async fn take_back(&self) {
        self.set_image("v3").await;
        self.eventually_weights([80, 20]).await;
        self.eventually("v3 answers, and fails", async || {
            let tally = self.answers(50).await;
            ensure!(tally.of("v3 500") > 0 && tally.of("v2 200") > 0, "{tally:?}");
            Ok(())
        })
        .await;
        self.eventually_phase("Failed").await;
        self.is_over("v2").await;
        let log = self.mesh.log("flagger-0");
        let halted = log
            .matches("Halt ad.weather advancement request error rate")
            .count();
        assert!(halted >= 3, "{log}");
        assert!(log.contains("failed checks threshold reached 3"), "{log}");
    }
}

/// EX-1026 to EX-1035: by Mixer's metrics of real requests a good version is released and a bad one taken back.
#[tokio::test(flavor = "multi_thread")]
async fn ex_1026_1027_1028_1029_1030_1031_1032_1033_1034_1035_flagger_releases_what_is_good() {
    let program = provided(provision::prometheus).await;
    let namespace = ["weather/namespace.yaml", "weather/frontend.yaml"];
    let mesh =
        TestMesh::on_kubernetes(&[&namespace[..], &["../tests/mesh/cluster/flagger/mesh.yaml"]].concat())
            .await;
    server(&mesh)
        .apply(&prometheus::manifests(
            &program,
            &prometheus::control_plane(),
            &[],
        ))
        .await
        .expect("applied");
    install(&mesh).await.expect("installed");
    mesh.eventually("Flagger runs", async || {
        let pods = ["-n", "istio-system", "get", "pods", "-l", "app=flagger"];
        let pods = kubectl(&mesh, &pods).await;
        ensure!(pods.contains("1/1") && pods.contains("Running"), "{pods}");
        Ok(())
    })
    .await;
    let release = Release {
        mesh: &mesh,
        client: server(&mesh).admin().client().await.expect("a client"),
    };
    let script = async {
        release.begin().await;
        release.release().await;
        release.take_back().await;
    };
    tokio::select! {
        () = script => {}
        () = release.traffic() => {}
    }
}
