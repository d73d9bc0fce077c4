//! The configuration is made, kept and taken away.

use std::time::Instant;

use mesh_testing::{eventually, ports};
use serde_json::{Value, json};

use super::site::{PATIENCE, Site, display, good, run, shared};

fn names(configuration: &Value) -> Vec<&str> {
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
    webhooks.filter_map(|webhook| webhook["name"].as_str()).collect()
}

const ALL: [&str; 3] = [
    "pilot.validation.istio.io",
    "mixer.validation.istio.io",
    "probe.validation.istio.io",
];

#[tokio::test]
async fn pain_18_nobody_depends_on_the_webhook_before_a_call_came_back() {
    let site = Site::new(shared().await).await;
    // The service leads to somebody who does not answer.
    let elsewhere = ports::unused().unwrap();
    let text = site.configuration().to_string();
    site.write(
        "webhook.yaml",
        &text.replace(&format!(":{}", site.port), &format!(":{elsewhere}")),
    );
    let mut galley = site.galley(&[]).await;
    let address = format!("validation: address of service {}/istio-galley", site.namespace);
    let call = "validation: call through the API server";
    galley.pending(&[&address, call]).await;
    assert_eq!(site.registered().await, Value::Null);

    site.address(true).await;
    galley.pending(&[call]).await;
    let line = galley.says("did not come back").await;
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.contains("probe.validation.istio.io") || reason.contains("does not call the webhook yet"),
        "{reason}"
    );
    eventually(PATIENCE, async || {
        match names(&site.registered().await).as_slice() {
            ["probe.validation.istio.io"] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    // Users notice nothing.
    site.done("apply -f -", &good("forecast")).await;
    galley.pending(&[call]).await;

    site.write("webhook.yaml", &text);
    galley.ready().await;
    site.refused_eventually().await;
    let registered = site.registered().await;
    assert_eq!(names(&registered), ALL);
    assert_eq!(registered["metadata"]["labels"], json!({ "app": "galley" }));
    assert_eq!(
        registered["metadata"]["ownerReferences"][0]["name"],
        site.namespace
    );
    assert_eq!(galley.metric("galley_validation_config_load ").await, 2.0);
    assert!(galley.metric("galley_validation_config_updates").await >= 2.0);

    // A file that cannot be used changes nothing.
    site.write("webhook.yaml", &text.replace("\"rules\"", "\"rulez\""));
    let line = galley.says("the webhook configuration cannot be used").await;
    assert_eq!(line["file"], display(&site.path("webhook.yaml")));
    assert_eq!(line["reason"], "webhooks[0].rulez: unknown field");
    assert_eq!(galley.metric("galley_validation_config_load_error").await, 1.0);
    site.refused_eventually().await;
}

#[tokio::test]
async fn pain_18_a_service_that_publishes_ready_pods_only_gets_one() {
    let site = Site::new(shared().await).await;
    site.address(false).await;
    let galley = site.galley(&[]).await;
    galley.ready().await;
    assert_eq!(site.registered().await, Value::Null);
    site.address(true).await;
    site.refused_eventually().await;
}

#[tokio::test]
async fn g8_6_whatever_others_do_is_repaired() {
    let site = Site::new(shared().await).await;
    let galley = site.serving().await;
    let name = site.webhook_name();
    let before = site.registered().await;
    let spoil = [
        format!(
            "patch validatingwebhookconfiguration {name} --type=json -p \
             [{{\"op\":\"replace\",\"path\":\"/webhooks/0/clientConfig/caBundle\",\"value\":\"Cg==\"}}]"
        ),
        format!(
            "patch validatingwebhookconfiguration {name} --type=json -p \
             [{{\"op\":\"replace\",\"path\":\"/webhooks/1/failurePolicy\",\"value\":\"Ignore\"}},\
             {{\"op\":\"remove\",\"path\":\"/webhooks/0/rules\"}}]"
        ),
        format!(
            "patch validatingwebhookconfiguration {name} --type=json -p \
             [{{\"op\":\"remove\",\"path\":\"/metadata/ownerReferences\"}}]"
        ),
        format!("delete validatingwebhookconfiguration {name} --wait=false"),
    ];
    for (number, line) in spoil.iter().enumerate() {
        let writes = galley.metric("galley_validation_config_updates").await;
        site.done(line, "").await;
        let done = Instant::now();
        eventually(PATIENCE, async || {
            let now = site.registered().await;
            let same = now["webhooks"] == before["webhooks"]
                && now["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"];
            if same {
                Ok(())
            } else {
                Err(format!("{number}: {now}"))
            }
        })
        .await
        .unwrap();
        println!("repaired within {:?}, kubectl included", done.elapsed());
        assert!(
            galley.metric("galley_validation_config_updates").await > writes,
            "{line}"
        );
    }
    site.refused_eventually().await;
    // What is not ours stays.
    site.done(
        &format!("label validatingwebhookconfiguration {name} team=weather"),
        "",
    )
    .await;
    assert_eq!(site.registered().await["metadata"]["labels"]["team"], "weather");
}

#[tokio::test]
async fn g8_6_two_replicas_do_not_fight() {
    let site = Site::new(shared().await).await;
    let first = site.serving().await;
    let port = format!("--validation-port={}", ports::unused().unwrap());
    let second = site.galley(&[&port]).await;
    // Its calls come back to the other one, which is as good.
    second.ready().await;
    let name = site.webhook_name();
    let version = async || site.registered().await["metadata"]["resourceVersion"].clone();
    let before = version().await;
    // Both see this, and both repair it. What is written then is the same.
    site.done(&format!("delete validatingwebhookconfiguration {name}"), "")
        .await;
    eventually(PATIENCE, async || match version().await {
        Value::Null => Err("not there"),
        now if now == before => Err("not yet gone"),
        _ => Ok(()),
    })
    .await
    .unwrap();
    let writes = async || {
        first.metric("galley_validation_config_updates").await
            + second.metric("galley_validation_config_updates").await
    };
    // A change that neither minds passes both; until then there is time for a fight.
    let settled = (version().await, writes().await);
    for round in 0..10 {
        site.done(
            &format!("label --overwrite validatingwebhookconfiguration {name} round=r{round}"),
            "",
        )
        .await;
    }
    let now = writes().await;
    assert!(now <= settled.1 + 1.0, "{} writes, then {now}", settled.1);
    site.refused_eventually().await;
}

#[tokio::test]
async fn pain_18_without_the_right_to_call_ourselves_the_webhook_is_served_all_the_same() {
    let site = Site::new(shared().await).await;
    let group = format!("galleys-{}", site.namespace);
    let role = format!(
        "create clusterrole {group} --verb=* --resource=validatingwebhookconfigurations.admissionregistration.k8s.io"
    );
    site.done(&role, "").await;
    site.done(
        &format!("create clusterrolebinding {group} --clusterrole={group} --group={group}"),
        "",
    )
    .await;
    let role = format!(
        "-n {} create role galley --verb=get,list,watch --resource=endpoints",
        site.namespace
    );
    site.done(&role, "").await;
    site.done(
        &format!(
            "-n {} create rolebinding galley --role=galley --group={group}",
            site.namespace
        ),
        "",
    )
    .await;
    let access = site.admin.as_user(&group, &[&group]).unwrap();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": { "name": "istio-galley", "namespace": site.namespace },
        "subsets": [{ "addresses": [{ "ip": "10.0.0.1" }] }],
    });
    site.done("apply -f -", &endpoints.to_string()).await;
    let mut galley = site.galley_as(&access, &[]).await;
    let line = galley.says("no call through the API server is allowed").await;
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("cannot create resource \"leases\""), "{reason}");
    galley.ready().await;
    site.refused_eventually().await;
}

#[tokio::test]
async fn g8_6_the_configuration_is_removed_on_request() {
    let site = Site::new(shared().await).await;
    let galley = site.serving().await;
    drop(galley);
    // Killed: everybody is locked out.
    let text = site.refused("create -f -", &good("forecast")).await;
    assert!(text.contains("failed calling webhook"), "{text}");
    let kubeconfig = format!("--kubeconfig={}", site.admin.kubeconfig().display());
    let name = site.webhook_name();
    let remove = ["remove-webhook", &kubeconfig, &format!("--webhook-name={name}")];
    assert_eq!(
        run(&remove).await,
        format!("ValidatingWebhookConfiguration {name} is removed\n")
    );
    assert_eq!(
        run(&remove).await,
        format!("there is no ValidatingWebhookConfiguration {name}\n")
    );
    let create = async || site.kubectl("apply -f -", &good("forecast")).await;
    eventually(PATIENCE, create).await.unwrap();

    // With its Deployment it goes by itself, and only then.
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "istio-galley", "namespace": site.namespace },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "app": "galley" } },
            "template": {
                "metadata": { "labels": { "app": "galley" } },
                "spec": { "containers": [{ "name": "galley", "image": "galley" }] },
            },
        },
    });
    site.done("apply -f -", &deployment.to_string()).await;
    let galley = site.galley(&["--validation-webhook-delete-on-shutdown"]).await;
    galley.ready().await;
    galley.terminate().await;
    assert_eq!(names(&site.registered().await), ALL);
    let galley = site.galley(&["--validation-webhook-delete-on-shutdown"]).await;
    galley.ready().await;
    site.done(
        &format!("-n {} scale deployment istio-galley --replicas=0", site.namespace),
        "",
    )
    .await;
    galley.terminate().await;
    assert_eq!(site.registered().await, Value::Null);
}
