//! Who may log in to Kiali, and what Kiali may do.

use std::fs;

use serde_json::{Value, json};

use super::Release;

/// The Secret that users create, as the sample has it.
const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../e2e/samples/addons/kiali-secret.yaml"
);

/// `admin` in base64.
const ADMIN: &str = "YWRtaW4=";

/// M61: Kiali reads name and passphrase from the files of Secret `kiali`, which is the user's own: Kiali runs without it, a
/// restart takes it up, and no upgrade touches it.
#[tokio::test]
async fn m61_kiali_takes_who_may_log_in_from_its_secret() {
    let release = Release::install("kiali", &["kiali.enabled=true"]).await;
    let deployment = release.get("deployment kiali").await;
    let template = &deployment["spec"]["template"];
    let secret = volume(template, "/kiali-secret");
    assert_eq!(secret["secret"]["secretName"], "kiali");
    assert_eq!(secret["secret"]["optional"], true);
    let config = release.document("kiali", "config.yaml").await;
    assert_eq!(config["auth"]["strategy"], "login");
    assert_eq!(
        (&config["server"]["port"], &config["server"]["web_root"]),
        (&json!(20001), &json!("/kiali"))
    );
    assert_eq!(
        config["external_services"]["istio"]["url_service_version"],
        format!("http://istio-pilot.{}:8080/version", release.namespace)
    );
    assert_eq!(
        config["external_services"]["prometheus"]["url"],
        "http://prometheus:9090"
    );

    let sample = fs::read_to_string(SAMPLE).expect("the sample");
    let sample = sample.replace("istio-system", &release.namespace);
    release.kubectl("apply -f -", &sample).await;
    release.kubectl("rollout restart deployment kiali", "").await;
    let restarted = release.get("deployment kiali").await;
    assert_ne!(
        restarted["spec"]["template"], *template,
        "nothing would be restarted"
    );
    assert_eq!(volume(&restarted["spec"]["template"], "/kiali-secret"), secret);

    // An upgrade neither undoes it, nor makes a Secret of its own out of the user's.
    release.upgrade(&["grafana.enabled=true"]).await;
    let refused = release.helm("upgrade", &["kiali.createDemoSecret=true"]).await;
    assert!(refused.is_err(), "the Secret of the user was taken over");
    release
        .upgrade(&["kiali.enabled=false", "kiali.createDemoSecret=false"])
        .await;
    let data = release.get("secret kiali").await["data"].take();
    assert_eq!(data, json!({"username": ADMIN, "passphrase": ADMIN}));
    release.uninstall().await;
}

/// M61: for trying things out the chart brings the same Secret.
#[tokio::test]
async fn m61_the_demo_secret_is_admin_admin() {
    let values = ["kiali.enabled=true", "kiali.createDemoSecret=true"];
    let release = Release::install("demo", &values).await;
    let data = release.get("secret kiali").await["data"].take();
    assert_eq!(data, json!({"username": ADMIN, "passphrase": ADMIN}));
    release.uninstall().await;
}

/// M71: another version of Kiali by an upgrade of the release; who may log in, and who has, stays.
#[tokio::test]
async fn m71_another_kiali_keeps_its_secrets() {
    let values = ["kiali.enabled=true", "kiali.createDemoSecret=true"];
    let release = Release::install("newer", &values).await;
    let image = async || {
        let deployment = release.get("deployment kiali").await;
        deployment["spec"]["template"]["spec"]["containers"][0]["image"].clone()
    };
    let secrets = async || {
        let mut data = Vec::new();
        for name in ["kiali", "kiali-signing-key"] {
            data.push(release.get(&format!("secret {name}")).await["data"].take());
        }
        data
    };
    let before = secrets().await;
    assert_eq!(
        before[1]["key"].as_str().map(str::len),
        Some(44),
        "32 bytes in base64"
    );
    assert_eq!(image().await, "quay.io/kiali/kiali:v1.22.1");
    release
        .upgrade(&["kiali.hub=registry.example/kiali", "kiali.tag=v2.4"])
        .await;
    assert_eq!(image().await, "registry.example/kiali/kiali:v2.4");
    assert_eq!(secrets().await, before);
    release.uninstall().await;
}

/// TEL-51, TEL-52: Kiali may read what it shows, and change the mesh's configuration unless it only shows.
#[tokio::test]
async fn m60_kiali_may_do_what_it_offers() {
    let release = Release::install("rights", &["kiali.enabled=true"]).await;
    let admin = release.server.admin();
    let account = admin
        .as_service_account(&release.namespace, "kiali-service-account")
        .await;
    let account = account.expect("an account");
    let may = async |what: &str| {
        // kubectl fails where the answer is no.
        account
            .run(&format!("auth can-i --all-namespaces {what}"), "")
            .await
            .is_ok()
    };
    for what in [
        "list deployments.apps",
        "watch pods",
        "get pods/log",
        "list services",
        "list handlers.config.istio.io",
        "delete virtualservices.networking.istio.io",
        "patch destinationrules.networking.istio.io",
        "create policies.authentication.istio.io",
    ] {
        assert!(may(what).await, "Kiali may not {what}");
    }
    for what in ["get secrets", "delete pods", "create deployments.apps"] {
        assert!(!may(what).await, "Kiali may {what}");
    }
    release.upgrade(&["kiali.dashboard.viewOnlyMode=true"]).await;
    assert!(may("list virtualservices.networking.istio.io").await);
    assert!(!may("delete virtualservices.networking.istio.io").await);
    release.uninstall().await;
}

/// The volume that the first container of a pod template has at a path.
fn volume(template: &Value, path: &str) -> Value {
    let spec = &template["spec"];
    let mut mounts = spec["containers"][0]["volumeMounts"]
        .as_array()
        .expect("mounts")
        .iter();
    let mount = mounts.find(|mount| mount["mountPath"] == path).expect("a mount");
    let mut volumes = spec["volumes"].as_array().expect("volumes").iter();
    volumes
        .find(|volume| volume["name"] == mount["name"])
        .expect("a volume")
        .clone()
}
