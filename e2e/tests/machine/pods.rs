//! The life of pods.

use e2e::mesh::Mesh;

use crate::support::{Files, ready, shell, start, until};

fn client(extra: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: client, labels: {{app: client}}}}\nspec:\n  containers:\n  - name: client\n    image: curlimages/curl\n{extra}"
    )
}

async fn uid_of(mesh: &Mesh) -> i32 {
    mesh.state().pod("client").unwrap().pid.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_has_its_own_processes_files_network_and_environment() {
    let files = Files::new(
        "pod.yaml",
        &client(
            "    env:\n    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}\n    - {name: URL, value: http://$(IP)/}\n    volumeMounts: [{name: data, mountPath: /data/deep}]\n  - {name: user, image: curlimages/curl, securityContext: {runAsUser: 1000}}\n  volumes: [{name: data, emptyDir: {}}]\n",
        ),
    );
    let mesh = ready(&files).await;
    let ip = mesh.state().pod("client").unwrap().ip;
    assert_eq!(shell(&mesh, "client", "echo $URL").await, format!("http://{ip}/"));
    assert_eq!(
        shell(&mesh, "client", "cat /proc/sys/kernel/hostname").await,
        "client"
    );
    // Its first process and its command, and the shell that asks.
    assert_eq!(
        shell(&mesh, "client", "ls -d /proc/[0-9]* | wc -l")
            .await
            .parse::<u32>()
            .unwrap()
            / 4,
        1
    );
    // A command runs as whoever the container runs as.
    let id = mesh
        .exec_in("client", Some("user"), ["sh", "-c", "id -u; stat -c %u /proc/2"])
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&id.stdout), "1000\n1000\n");
    assert_eq!(shell(&mesh, "client", "id -u").await, "0");
    assert_eq!(
        shell(
            &mesh,
            "client",
            "touch /data/deep/x /etc/x /x && stat -c %a /data/deep"
        )
        .await,
        "777"
    );
    assert!(!std::path::Path::new("/x").exists() && !std::path::Path::new("/etc/x").exists());
    let interfaces = shell(
        &mesh,
        "client",
        "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | xargs",
    )
    .await;
    assert_eq!(interfaces.split_whitespace().count(), 2, "{interfaces}");
    let failed = mesh.exec("client", ["sh", "-c", "exit 7"]).await.unwrap();
    assert_eq!(failed.status.code(), Some(7));
    let error = mesh.exec("nobody", ["true"]).await.unwrap_err().to_string();
    assert!(
        error.contains("pod nobody does not exist; there are client"),
        "{error}"
    );
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mounted_config_map_follows_its_object() {
    let map = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: greeting}\ndata: {text: hello}\n";
    let pod = client(
        "    volumeMounts: [{name: v, mountPath: /greeting}]\n  volumes: [{name: v, configMap: {name: greeting}}]\n",
    );
    let files = Files::new("pod.yaml", &format!("{pod}{map}"));
    let mesh = ready(&files).await;
    let before = uid_of(&mesh).await;
    assert_eq!(shell(&mesh, "client", "cat /greeting/text").await, "hello");
    files.write("pod.yaml", &format!("{pod}{}", map.replace("hello", "goodbye")));
    mesh_testing::eventually(crate::support::PATIENCE, async || {
        let text = shell(&mesh, "client", "cat /greeting/text").await;
        anyhow::ensure!(text == "goodbye", "{text}");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(uid_of(&mesh).await, before, "the pod goes on");
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_ends_is_restarted_and_says_why() {
    let files = Files::new(
        "pod.yaml",
        &client("    command: [sh, -c, 'sleep 0.2; exit 3']\n"),
    );
    let mesh = start(&files).await;
    until(&mesh, |state| {
        state.pod("client").is_some_and(|pod| {
            pod.message.contains("container client ended with exit code 3")
                && pod.containers.iter().any(|container| container.restarts >= 2)
        })
    })
    .await;
    assert_eq!(mesh.state().pod("client").unwrap().replaced, 0);
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn init_containers_run_to_their_end_one_after_another_before_the_application() {
    let init = "  initContainers:\n  - {name: first, image: curlimages/curl, command: [sh, -c, 'sleep 0.2; echo first >> /shared/order'], volumeMounts: [{name: s, mountPath: /shared}]}\n  - {name: second, image: curlimages/curl, command: [sh, -c, 'echo second >> /shared/order'], volumeMounts: [{name: s, mountPath: /shared}]}\n";
    let app = "    volumeMounts: [{name: s, mountPath: /shared}]\n  volumes: [{name: s, emptyDir: {}}]\n";
    let files = Files::new("pod.yaml", &client(&format!("{app}{init}")));
    let mesh = ready(&files).await;
    assert_eq!(
        shell(&mesh, "client", "xargs < /shared/order").await,
        "first second"
    );
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn editing_a_file_changes_what_runs() {
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  replicas: 1\n  template:\n    metadata: {labels: {app: d}}\n    spec:\n      terminationGracePeriodSeconds: 1\n      containers: [{name: c, image: curlimages/curl}]\n";
    let files = Files::new("d.yaml", deployment);
    let mesh = ready(&files).await;
    files.write("d.yaml", &deployment.replace("replicas: 1", "replicas: 3"));
    until(&mesh, |state| state.ready && state.pods.len() == 3).await;
    files.write("more.yaml", &client(""));
    until(&mesh, |state| state.ready && state.pod("client").is_some()).await;
    let first = mesh.state().pod("d-0").unwrap().ip;
    files.write("d.yaml", &deployment.replace("{app: d}", "{app: d, version: v2}"));
    until(&mesh, |state| {
        state.ready
            && state.pods.len() == 2
            && state
                .pod("d-0")
                .is_some_and(|pod| pod.ip != first && pod.labels.contains_key("version"))
    })
    .await;
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_run_is_named_and_everything_else_runs() {
    let bad = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: strange}\nspec: {containers: [{name: c, image: nginx}]}\n---\nkind: [\n";
    let files = Files::new("pod.yaml", &format!("{}{bad}", client("")));
    let mesh = start(&files).await;
    until(&mesh, |state| state.pod("client").is_some_and(|pod| pod.ready)).await;
    let problems = mesh.state().problems.join("\n");
    assert!(
        problems.contains("Pod default/strange: container c: image nginx matches no entry"),
        "{problems}"
    );
    assert!(problems.contains("pod.yaml:"), "{problems}");
    files.write("pod.yaml", &client(""));
    until(&mesh, |state| state.ready && state.problems.is_empty()).await;
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_change_on_the_running_pod() {
    let files = Files::new("pod.yaml", &client(""));
    let mesh = ready(&files).await;
    let before = uid_of(&mesh).await;
    mesh.label("client", [("version", Some("v3")), ("app", None)])
        .await
        .unwrap();
    until(&mesh, |state| {
        let labels = &state.pod("client").unwrap().labels;
        labels.get("version").map(String::as_str) == Some("v3") && !labels.contains_key("app")
    })
    .await;
    assert_eq!(uid_of(&mesh).await, before);
    let object = mesh.layout().config().join("core/pods/default.client.yaml");
    assert!(std::fs::read_to_string(object).unwrap().contains("version: v3"));
    assert!(mesh.label("nobody", [("a", None)]).await.is_err());
    mesh.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn applied_objects_win_over_files_until_they_are_deleted() {
    let files = Files::new("pod.yaml", &client(""));
    let mesh = ready(&files).await;
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {app: client}, ports: [{port: 80}]}\n";
    assert_eq!(mesh.apply(service).await.unwrap(), "Service default/s applied");
    let has = |mesh: &Mesh, host: &str| {
        mesh.state()
            .services
            .iter()
            .any(|service| service.host.starts_with(host))
    };
    until(&mesh, |state| {
        state
            .services
            .iter()
            .any(|service| service.host.starts_with("s.default"))
    })
    .await;
    assert_eq!(
        mesh.delete("service", "", "s").await.unwrap(),
        "Service default/s deleted"
    );
    until(&mesh, |state| {
        !state
            .services
            .iter()
            .any(|service| service.host.starts_with("s.default"))
    })
    .await;
    assert!(!has(&mesh, "s.default"));
    mesh.delete("Pod", "default", "client").await.unwrap();
    until(&mesh, |state| state.pods.is_empty()).await;
    assert!(mesh.apply("kind: [").await.is_err());
    mesh.stop().await.unwrap();
}
