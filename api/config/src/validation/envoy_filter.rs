//! EnvoyFilter (V4).

use mesh_api::istio::networking::v1alpha3::EnvoyFilter;
use mesh_api::istio::networking::v1alpha3::envoy_filter::filter::FilterType;
use mesh_api::istio::networking::v1alpha3::envoy_filter::insert_position::Index;
use mesh_api::istio::networking::v1alpha3::envoy_filter::{Filter, ListenerMatch};

use super::primitive;
use super::problems::Problems;
use super::virtual_service::check_tags;

pub(super) fn check(envoy_filter: &EnvoyFilter, problems: &mut Problems) {
    check_tags("workloadLabels", &envoy_filter.workload_labels, problems);
    if envoy_filter.filters.is_empty() {
        problems.report_field("filters", "an envoy filter needs at least one filter");
    }
    problems.each("filters", &envoy_filter.filters, |problems, filter| {
        check_filter(filter, problems)
    });
}

/// Whether the configuration is one of the filter is Envoy's business, and depends on its version.
fn check_filter(filter: &Filter, problems: &mut Problems) {
    if let Some(position) = &filter.insert_position {
        let is_relative = matches!(position.index(), Index::Before | Index::After);
        if is_relative && position.relative_to.is_empty() {
            problems.report_field(
                "insertPosition.relativeTo",
                format!("index {} needs it", position.index().as_str_name()),
            );
        }
    }
    if let Some(listener) = &filter.listener_match {
        problems.field("listenerMatch", |problems| {
            check_listener_match(listener, problems)
        });
    }
    if filter.filter_type() == FilterType::Invalid {
        problems.report_field("filterType", "one of HTTP and NETWORK is needed");
    }
    if filter.filter_name.is_empty() {
        problems.report_field("filterName", "missing");
    }
    if filter.filter_config.is_none() {
        problems.report_field("filterConfig", "missing");
    }
}

/// 1.1 let conditions pass that no listener can meet, and logged them later.
fn check_listener_match(listener: &ListenerMatch, problems: &mut Problems) {
    if listener.port_number != 0 {
        problems.check_field("portNumber", primitive::port(listener.port_number));
    }
    problems.each("address", &listener.address, |problems, address| {
        problems.check(primitive::subnet(address));
    });
}
