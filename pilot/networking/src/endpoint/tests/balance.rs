//! Load balancing by locality (P10.6).

use mesh_api::istio::mesh::v1alpha1::locality_load_balancer_setting::{Distribute, Failover};
use mesh_api::istio::mesh::v1alpha1::{LocalityLoadBalancerSetting, MeshConfig};
use mesh_api::istio::networking::v1alpha3::{OutlierDetection, TrafficPolicy};
use pilot_model::{InterceptionMode, Proxy, Workload};

use super::*;
use crate::Features;
use crate::fixture::proxy;

fn distribute(shares: &[(&str, &[(&str, u32)])]) -> LocalityLoadBalancerSetting {
    LocalityLoadBalancerSetting {
        distribute: shares
            .iter()
            .map(|(from, to)| Distribute {
                from: (*from).to_owned(),
                to: to
                    .iter()
                    .map(|(to, percent)| ((*to).to_owned(), *percent))
                    .collect(),
            })
            .collect(),
        ..LocalityLoadBalancerSetting::default()
    }
}

fn failover(pairs: &[(&str, &str)]) -> LocalityLoadBalancerSetting {
    LocalityLoadBalancerSetting {
        failover: pairs
            .iter()
            .map(|(from, to)| Failover {
                from: (*from).to_owned(),
                to: (*to).to_owned(),
            })
            .collect(),
        ..LocalityLoadBalancerSetting::default()
    }
}

/// One proxy, and what it is asked under.
struct Case {
    setting: Option<LocalityLoadBalancerSetting>,
    outlier_detection: bool,
    feature: bool,
}

impl Case {
    fn with(setting: LocalityLoadBalancerSetting) -> Self {
        Self {
            setting: Some(setting),
            outlier_detection: true,
            feature: true,
        }
    }

    fn assignment(
        &self,
        proxy: &Proxy,
        workload: &Workload,
        endpoints: Vec<Endpoint>,
    ) -> ClusterLoadAssignment {
        let mut rule = rule("forecast");
        rule.traffic_policy = self.outlier_detection.then(|| TrafficPolicy {
            outlier_detection: Some(OutlierDetection::default()),
            ..TrafficPolicy::default()
        });
        let mesh = Mesh::with(MeshConfig {
            locality_lb_setting: self.setting.clone(),
            ..MeshConfig::default()
        })
        .service(service("forecast", "10.96.0.1", &[("http", 80)]))
        .rule("default", "forecast", rule)
        .endpoints("Kubernetes", FORECAST, endpoints);
        let (view, index) = mesh.view_and_endpoints("default");
        let features = Features {
            locality_load_balancing: self.feature,
            ..Features::default()
        };
        let vantage = Vantage::new(&view, proxy, workload, &features);
        let key = key(
            &view,
            &index,
            &format!("outbound|80||{FORECAST}").into(),
            &vantage,
        );
        Endpoints::build(&key).message
    }

    /// Priority, locality and weight of each group that a proxy in a locality gets.
    fn seen_from(&self, locality: &str, endpoints: &[&str]) -> Vec<(u32, String, u32)> {
        let endpoints = endpoints
            .iter()
            .enumerate()
            .map(|(index, locality)| in_locality(&format!("10.1.0.{index}:1"), locality));
        let mut proxy = proxy(InterceptionMode::Redirect);
        proxy.locality = Locality::parse(locality);
        let assignment = self.assignment(&proxy, &Workload::default(), endpoints.collect());
        let priorities: Vec<u32> = assignment.endpoints.iter().map(|group| group.priority).collect();
        let groups = content(&assignment).into_iter().zip(priorities);
        groups
            .map(|((locality, weight, _), priority)| (priority, locality, weight))
            .collect()
    }
}

fn at(priority: u32, locality: &str, weight: u32) -> (u32, String, u32) {
    (priority, locality.to_owned(), weight)
}

#[test]
fn p10_6_percentages_are_split_by_weight_and_rounded_up() {
    let setting = distribute(&[
        ("eu/*", &[("eu/*", 100)]),
        ("us/a/*", &[("us/a/*", 80), ("us/b", 20)]),
    ]);
    let endpoints = ["us/a/1", "us/a/1", "us/a/2", "us/b/1", "us/c/1", "eu/a/1"];
    let case = Case::with(setting);
    assert_eq!(
        case.seen_from("us/a/1", &endpoints),
        // Two thirds and one third of 80; nothing for what is not listed.
        [at(0, "us/a/1", 54), at(0, "us/a/2", 27), at(0, "us/b/1", 20)]
    );
    assert_eq!(case.seen_from("eu/b/9", &endpoints), [at(0, "eu/a/1", 100)]);
    let untouched = case.seen_from("asia/a/1", &endpoints);
    assert_eq!(untouched.len(), 5, "no setting is about it: {untouched:?}");
}

#[test]
fn p10_6_the_first_setting_that_matches_counts_and_the_narrowest_pattern_takes_a_group() {
    let setting = distribute(&[("us/a/1", &[("*", 10), ("us/a", 90)]), ("*", &[("eu", 100)])]);
    let endpoints = ["us/a/1", "us/b/1", "eu/a/1"];
    let case = Case::with(setting);
    assert_eq!(
        case.seen_from("us/a/1", &endpoints),
        [at(0, "eu/a/1", 5), at(0, "us/a/1", 90), at(0, "us/b/1", 5)]
    );
    assert_eq!(case.seen_from("us/a/2", &endpoints), [at(0, "eu/a/1", 100)]);
}

#[test]
fn p10_6_the_nearest_come_first_and_priorities_have_no_gaps() {
    let all = ["us/a/1", "us/a/2", "us/b/1", "eu/a/1", "asia/a/1"];
    let case = Case::with(failover(&[("us", "eu")]));
    assert_eq!(
        case.seen_from("us/a/1", &all),
        [
            at(4, "asia/a/1", 1),
            at(3, "eu/a/1", 1),
            at(0, "us/a/1", 1),
            at(1, "us/a/2", 1),
            at(2, "us/b/1", 1)
        ]
    );
    assert_eq!(
        case.seen_from("us/a/1", &["us/b/1", "eu/a/1", "us/b/2", "asia/a/1"]),
        [
            at(2, "asia/a/1", 1),
            at(1, "eu/a/1", 1),
            at(0, "us/b/1", 1),
            at(0, "us/b/2", 1)
        ]
    );
    assert_eq!(
        case.seen_from("eu/a/1", &all)
            .into_iter()
            .map(|(priority, ..)| priority)
            .collect::<Vec<_>>(),
        [1, 0, 1, 1, 1],
        "nothing is said about that region: all others are equally far"
    );
}

#[test]
fn p10_6_without_a_setting_the_nearest_come_first_too() {
    let case = Case {
        setting: None,
        outlier_detection: true,
        feature: true,
    };
    assert_eq!(
        case.seen_from("us/a/1", &["us/a/1", "eu/a/1"]),
        [at(1, "eu/a/1", 1), at(0, "us/a/1", 1)]
    );
}

#[test]
fn p10_6_without_outlier_detection_or_the_switch_nothing_fails_over() {
    for (outlier_detection, feature) in [(false, true), (true, false)] {
        let case = Case {
            setting: Some(failover(&[("us", "eu")])),
            outlier_detection,
            feature,
        };
        assert_eq!(
            case.seen_from("us/a/1", &["us/a/1", "eu/a/1"]),
            [at(0, "eu/a/1", 1), at(0, "us/a/1", 1)]
        );
    }
    let shares = Case {
        setting: Some(distribute(&[("us", &[("eu", 100)])])),
        outlier_detection: false,
        feature: true,
    };
    assert_eq!(
        shares.seen_from("us/a/1", &["us/a/1", "eu/a/1"]),
        [at(0, "eu/a/1", 100)]
    );
}

#[test]
fn p10_6_a_proxy_that_does_not_say_where_it_runs_is_where_its_workload_is() {
    let case = Case::with(failover(&[]));
    let workload = Workload {
        locality: Locality::parse("us/a/1"),
        ..Workload::default()
    };
    let endpoints = || {
        vec![
            in_locality("10.1.0.1:1", "us/a/1"),
            in_locality("10.1.0.2:1", "eu"),
        ]
    };
    let proxy = proxy(InterceptionMode::Redirect);
    let priorities = |assignment: ClusterLoadAssignment| -> Vec<u32> {
        assignment.endpoints.iter().map(|group| group.priority).collect()
    };
    assert_eq!(
        priorities(case.assignment(&proxy, &workload, endpoints())),
        [1, 0]
    );
    assert_eq!(
        priorities(case.assignment(&proxy, &Workload::default(), endpoints())),
        [0, 0]
    );
}
