use super::check_table;

#[test]
fn v4_at_least_one_filter() {
    check_table(
        "EnvoyFilter",
        &[
            ("{}", &["filters: an envoy filter needs at least one filter"]),
            (
                "filters: []",
                &["filters: an envoy filter needs at least one filter"],
            ),
            (
                "filters: [{filterType: HTTP, filterName: a, filterConfig: {}}]",
                &[],
            ),
        ],
    );
}

#[test]
fn v4_what_a_filter_needs_all_at_once() {
    check_table(
        "EnvoyFilter",
        &[
            (
                "filters: [{insertPosition: {index: BEFORE}}]",
                &[
                    "filters[0].insertPosition.relativeTo: index BEFORE needs it",
                    "filters[0].filterType: one of HTTP and NETWORK is needed",
                    "filters[0].filterName: missing",
                    "filters[0].filterConfig: missing",
                ],
            ),
            (
                "filters: [{filterType: NETWORK, filterName: a, filterConfig: {}, insertPosition: {index: AFTER}}]",
                &["filters[0].insertPosition.relativeTo: index AFTER needs it"],
            ),
            (
                "filters: [{filterType: INVALID, filterName: a, filterConfig: {}}]",
                &["filters[0].filterType: one of HTTP and NETWORK is needed"],
            ),
        ],
    );
}

#[test]
fn v4_positions_that_need_no_other_filter() {
    for position in [
        "{}",
        "{index: FIRST}",
        "{index: LAST}",
        "{index: BEFORE, relativeTo: envoy.filters.http.router}",
        "{index: AFTER, relativeTo: envoy.filters.http.cors}",
    ] {
        let spec = format!(
            "filters: [{{filterType: HTTP, filterName: a, filterConfig: {{}}, insertPosition: {position}}}]"
        );
        check_table("EnvoyFilter", &[(spec.as_str(), &[])]);
    }
}

#[test]
fn v4_conditions_on_listeners_can_be_met() {
    let with = |conditions: &str| {
        format!(
            "filters: [{{filterType: HTTP, filterName: a, filterConfig: {{}}, listenerMatch: {{{conditions}}}}}]"
        )
    };
    for valid in [
        "",
        "portNumber: 65535, portNamePrefix: http, listenerType: GATEWAY, listenerProtocol: HTTP",
        "address: [10.0.0.1, 10.0.0.0/8, 'fd00::1', 'fd00::/8']",
    ] {
        check_table("EnvoyFilter", &[(with(valid).as_str(), &[])]);
    }
    check_table(
        "EnvoyFilter",
        &[(
            with("portNumber: 65536, address: [10.0.0.1, a, 10.0.0.0/33]").as_str(),
            &[
                "filters[0].listenerMatch.portNumber: 65536 is not a port (1 to 65535)",
                "filters[0].listenerMatch.address[1]: \"a\" is neither an IP address nor a CIDR block",
                "filters[0].listenerMatch.address[2]: \"10.0.0.0/33\" is neither an IP address nor a CIDR block",
            ],
        )],
    );
}

#[test]
fn v4_workload_labels_are_labels() {
    check_table(
        "EnvoyFilter",
        &[(
            "workloadLabels: {app: 'a b'}\nfilters: [{filterType: HTTP, filterName: a, filterConfig: {}}]",
            &["workloadLabels[app]: \"a b\" is not a label"],
        )],
    );
}
