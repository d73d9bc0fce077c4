use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecurityContext};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn pod(annotations: &[(&str, &str)]) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.name = Some("a-0".to_owned());
    pod.metadata.labels = Some(labels(&[("app", "a")]));
    pod.metadata.annotations = Some(labels(annotations)).filter(|all| !all.is_empty());
    pod.spec = Some(PodSpec {
        containers: vec![Container {
            name: "app".to_owned(),
            ..Container::default()
        }],
        ..PodSpec::default()
    });
    pod
}

fn selects(key: &str, value: &str) -> Vec<LabelSelector> {
    vec![LabelSelector {
        match_labels: Some(labels(&[(key, value)])),
        ..LabelSelector::default()
    }]
}

fn run(pod: &Pod, values: &Values) -> Result<Option<Pod>, InjectError> {
    let enabled = labels(&[("istio-injection", "enabled")]);
    inject(
        pod,
        &NamespaceRef {
            name: "weather",
            labels: &enabled,
        },
        &ProxyDefaults::default(),
        values,
    )
}

fn proxy(pod: &Pod) -> &Container {
    let spec = pod.spec.as_ref().unwrap();
    let all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    all.into_iter().find(|c| c.name == "istio-proxy").unwrap()
}

#[test]
fn inj_table_1_7_first_match_wins() {
    let enabled = labels(&[("istio-injection", "enabled")]);
    let never = Values {
        never_inject_selector: selects("app", "a"),
        ..Values::default()
    };
    let always = Values {
        always_inject_selector: selects("app", "a"),
        policy: Policy::Disabled,
        ..Values::default()
    };
    let both = Values {
        always_inject_selector: selects("app", "a"),
        ..never.clone()
    };
    let disabled = Values {
        policy: Policy::Disabled,
        ..Values::default()
    };
    let unknown = Values {
        policy: Policy::parse("maybe"),
        ..Values::default()
    };
    let plain = Values::default();
    let yes = |text| pod(&[("sidecar.istio.io/inject", text)]);
    let mut host = yes("true");
    host.spec.as_mut().unwrap().host_network = Some(true);

    for (pod, namespace, values, want) in [
        (&host, "weather", &plain, (false, Reason::HostNetwork)),
        (
            &yes("true"),
            "kube-system",
            &plain,
            (false, Reason::SystemNamespace),
        ),
        (&yes("true"), "weather", &unknown, (false, Reason::UnknownPolicy)),
        (&yes("ON"), "weather", &disabled, (true, Reason::Annotation)),
        (&yes("y"), "weather", &never, (true, Reason::Annotation)),
        (&yes("garbage"), "weather", &always, (false, Reason::Annotation)),
        (&yes("false"), "weather", &plain, (false, Reason::Annotation)),
        (&yes(""), "weather", &plain, (true, Reason::Policy)),
        (&pod(&[]), "weather", &never, (false, Reason::NeverInjectSelector)),
        (&pod(&[]), "weather", &both, (false, Reason::NeverInjectSelector)),
        (
            &pod(&[]),
            "weather",
            &always,
            (true, Reason::AlwaysInjectSelector),
        ),
        (&pod(&[]), "weather", &plain, (true, Reason::Policy)),
        (&pod(&[]), "weather", &disabled, (false, Reason::Policy)),
    ] {
        let got = decide(
            pod,
            &NamespaceRef {
                name: namespace,
                labels: &enabled,
            },
            values,
        );
        assert_eq!((got.inject, got.reason), want);
    }
}

#[test]
fn inj_12_the_namespace_label_lets_pods_through() {
    let everywhere = Values {
        enable_namespaces_by_default: true,
        ..Values::default()
    };
    for (label, values, want) in [
        (None, Values::default(), false),
        (Some("enabled"), Values::default(), true),
        (Some("disabled"), Values::default(), false),
        (None, everywhere.clone(), true),
        (Some("disabled"), everywhere, false),
    ] {
        let namespace: BTreeMap<_, _> = label
            .iter()
            .map(|text| ("istio-injection".to_owned(), (*text).to_owned()))
            .collect();
        let got = decide(
            &pod(&[]),
            &NamespaceRef {
                name: "weather",
                labels: &namespace,
            },
            &values,
        );
        assert_eq!(got.inject, want, "{label:?}");
    }
}

#[test]
fn inj_74_worked_example() {
    let example = pod(&[
        (
            "traffic.sidecar.istio.io/includeOutboundIPRanges",
            "127.0.0.1/24,10.96.0.1/24",
        ),
        (
            "traffic.sidecar.istio.io/excludeOutboundIPRanges",
            "10.96.0.2/24,10.96.0.3/24",
        ),
        ("traffic.sidecar.istio.io/includeInboundPorts", "1,2,3"),
        ("traffic.sidecar.istio.io/excludeInboundPorts", "4,5,6"),
        ("sidecar.istio.io/proxyCPU", "10m"),
    ]);
    let injected = run(&example, &Values::default()).unwrap().unwrap();
    let init = &injected.spec.as_ref().unwrap().init_containers.as_ref().unwrap()[1];
    let line = init.args.as_ref().unwrap().join(" ");
    let want =
        "-m REDIRECT -i 127.0.0.1/24,10.96.0.1/24 -x 10.96.0.2/24,10.96.0.3/24 -b 1,2,3 -d 4,5,6,15020";
    assert!(line.ends_with(want), "{line}");
    assert_eq!(init.restart_policy, None);
    assert!(
        proxy(&injected)
            .args
            .as_ref()
            .unwrap()
            .join(" ")
            .ends_with("--concurrency 1")
    );
}

#[test]
fn inj_60_injecting_twice_changes_nothing_in_either_shape() {
    for native_sidecar in [true, false] {
        let values = Values {
            native_sidecar,
            version: "v".to_owned(),
            ..Values::default()
        };
        let mut original = pod(&[("sidecar.istio.io/proxyCPU", "10m")]);
        original.spec.as_mut().unwrap().init_containers = Some(vec![Container {
            name: "migrate".to_owned(),
            ..Container::default()
        }]);
        let once = run(&original, &values).unwrap().unwrap();
        let twice = run(&once, &values).unwrap().unwrap();
        assert_eq!(once, twice);
        let mut stripped = twice;
        strip(&mut stripped);
        assert_eq!(stripped, original);
    }
}

#[test]
fn strip_knows_the_names_of_an_injection_without_a_status() {
    let mut old = pod(&[]);
    let spec = old.spec.as_mut().unwrap();
    spec.containers.push(Container {
        name: "istio-proxy".to_owned(),
        ..Container::default()
    });
    spec.init_containers = Some(vec![Container {
        name: "istio-init".to_owned(),
        ..Container::default()
    }]);
    strip(&mut old);
    assert_eq!(old, pod(&[]));
}

#[test]
fn a_status_port_of_zero_leaves_flags_and_probes_out() {
    let injected = run(&pod(&[("status.sidecar.istio.io/port", "0")]), &Values::default())
        .unwrap()
        .unwrap();
    let proxy = proxy(&injected);
    let line = proxy.args.as_ref().unwrap().join(" ");
    assert!(
        !line.contains("--statusPort") && !line.contains("--applicationPorts"),
        "{line}"
    );
    assert_eq!((&proxy.readiness_probe, &proxy.startup_probe), (&None, &None));
}

#[test]
fn ipt_31_an_application_running_as_the_proxy_is_refused() {
    let mut escaping = pod(&[]);
    escaping.spec.as_mut().unwrap().containers[0].security_context = Some(SecurityContext {
        run_as_group: Some(PROXY_UID),
        ..SecurityContext::default()
    });
    let error = run(&escaping, &Values::default()).unwrap_err();
    assert_eq!(
        error,
        InjectError::ReservedUser {
            pod: "a-0".to_owned(),
            container: "app".to_owned()
        }
    );
}

#[test]
fn a_bad_annotation_is_an_error_that_names_pod_and_annotation() {
    let bad = pod(&[("traffic.sidecar.istio.io/includeInboundPorts", "eighty")]);
    let text = run(&bad, &Values::default()).unwrap_err().to_string();
    assert_eq!(
        text,
        "pod a-0: annotation traffic.sidecar.istio.io/includeInboundPorts: \"eighty\" is not a port number between 0 and 65535"
    );
}

#[test]
fn without_capture_there_is_no_init_container() {
    let none = run(
        &pod(&[("sidecar.istio.io/interceptionMode", "NONE")]),
        &Values::default(),
    );
    let cni = run(
        &pod(&[]),
        &Values {
            cni_enabled: true,
            ..Values::default()
        },
    );
    for injected in [none, cni] {
        let spec = injected.unwrap().unwrap().spec.unwrap();
        let names: Vec<_> = spec
            .init_containers
            .iter()
            .flatten()
            .map(|c| c.name.as_str())
            .collect();
        assert_eq!(names, ["istio-proxy"]);
    }
}

#[test]
fn the_sidecar_spec_reads_what_an_injection_template_renders() {
    let text = r#"{"initContainers":[{"name":"istio-init"}],"volumes":[{"name":"v","emptyDir":{}}]}"#;
    let spec: SidecarSpec = serde_json::from_str(text).unwrap();
    assert_eq!(spec.init_containers[0].name, "istio-init");
    assert!(spec.containers.is_empty());
}
